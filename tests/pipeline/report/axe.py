"""What axe-core finds of barriers in a page, in headless Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(os.environ.get("KINDRED_AXE", "node_modules/axe-core/axe.min.js"))
RUNNER = """<script>%s</script><script>addEventListener("load", () => axe.run().then(found => {
document.body.innerHTML = ""; const told = document.createElement("pre");
told.textContent = JSON.stringify(found.violations.map(one => [one.id, one.impact, one.nodes.map(node => node.html.slice(0, 200))]));
document.body.append(told); }));</script>"""

needs_axe = pytest.mark.skipif(
    not (CHROMIUM and AXE.is_file()),
    reason="no Chromium on the path, or no axe.min.js: set KINDRED_AXE, or npm install axe-core",
)


def barriers(page: str, folder: Path, *, width: int = 1300) -> Any:
    """Violations of axe's rules, each with its elements."""
    place = folder / "page.html"
    place.write_text(page.replace("</body>", RUNNER % AXE.read_text(encoding="utf-8") + "</body>"), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    sized = [f"--window-size={width},2000", "--virtual-time-budget=60000", "--dump-dom", place.as_uri()]
    done = subprocess.run([*command, *sized], capture_output=True, text=True, timeout=120, check=True)
    told = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert told, "axe did not answer"
    return json.loads(told[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
