"""A command that is terminated ends as one that is interrupted: one message, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import STOPPED

PROJECT = Path(__file__).parents[2]
COMMAND = """
import argparse, os, signal, sys, time
from pathlib import Path
from pipeline import cli
from pipeline.config.params import EngineParams
from pipeline.stores.database import connect
from pipeline.stores.local.work_folders import temporary_folder

ENGINE = EngineParams(memory_limit="1GB", threads=1, temp_directory=None, max_temp_directory_size="1GB")
QUERY = "select sum(a.range * b.range) from range(1000000) a, range(1000000) b"

def run(options, progress):
    with temporary_folder(), connect(ENGINE, folder=Path(sys.argv[1])) as con:
        if sys.argv[2] == "start of a query":
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), int(sys.argv[3])))
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
        print("ready", flush=True)
        time.sleep(60) if sys.argv[2] == "python" else con.con.execute(QUERY)

class Parser:
    def parse_args(self, arguments):
        return argparse.Namespace(run=run, debug=False)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored if the tests run under nohup
cli.parser = Parser
sys.exit(cli.main([]))
"""
INSIDE_EXEC = """
import argparse, sys
from pipeline import cli

def run(options, progress):
    exec("raise KeyboardInterrupt")

class Parser:
    def parse_args(self, arguments):
        return argparse.Namespace(run=run, debug=False)

cli.parser = Parser
sys.exit(cli.main([]))
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("work", ["start of a query", "query", "python"])
def test_a_signal_ends_a_command_cleanly(tmp_path: Path, work: str, sent: signal.Signals) -> None:
    outputs, temporary = tmp_path / "outputs", tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", COMMAND, str(outputs), work, str(int(sent))]
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env={"TMPDIR": str(temporary), "PATH": "", "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        if work != "start of a query":
            assert list(outputs.iterdir()) and list(temporary.iterdir())
            process.send_signal(sent)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert errors == f"{STOPPED}\n"
    assert process.returncode == 1
    assert not list(outputs.iterdir()) and not list(temporary.iterdir())


def test_a_command_that_is_stopped_while_a_module_is_imported_exits_with_1(tmp_path: Path) -> None:
    """Modules with dataclasses run texts as code when they are imported."""
    (tmp_path / "command.py").write_text(INSIDE_EXEC, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "command"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, f"{STOPPED}\n")
