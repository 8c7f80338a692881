"""`kindred serve` as it is run: the address printed, what is printed after it, and the end by Ctrl+C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from tests.conftest import PARAMS
from tests.pipeline.page.conftest import made_up_scores, write_scores


@pytest.mark.slow
def test_the_address_printed_opens_the_page_and_nothing_else_is_printed(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", made_up_scores())
    places = [f"outputs.folder={tmp_path / 'outputs'}", f"outputs.scores={tmp_path / 'scores.parquet'}"]
    options = [word for place in places for word in ("--set", place)]
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--params", str(PARAMS), "--port", "0", *options]
    environment = {**os.environ, "PYTHONPATH": str(PARAMS.parent)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout and server.stderr
        first, second = server.stdout.readline(), server.stdout.readline()
        address = re.fullmatch(r"Page {5}(http://127\.0\.0\.1:\d+/enter/[\w-]{43,})\n", first)
        assert address, first or server.stderr.read()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with opener.open(address[1], timeout=20) as answer:
            assert answer.url.endswith("/en/") and b"What to do on Monday" in answer.read()
    finally:
        server.send_signal(signal.SIGINT)
        out, errors = server.communicate(timeout=30)
    assert (server.returncode, out, errors) == (0, "", "") and second == "Stop     Ctrl+C\n"
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == [], "the working database is deleted"
