"""Accessibility barriers that axe-core finds in a page, in headless Chromium."""

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
document.body.innerHTML = ""; const output = document.createElement("pre");
output.textContent = JSON.stringify(found.violations.map(rule => [rule.id, rule.impact, rule.nodes.map(node => node.html.slice(0, 200))]));
document.body.append(output); }));</script>"""

needs_axe = pytest.mark.skipif(
    not (CHROMIUM and AXE.is_file()),
    reason="no Chromium on the path, or no axe.min.js: set KINDRED_AXE, or npm install axe-core",
)


def barriers(page: str, folder: Path, *, width: int = 1300) -> Any:
    """Violated rules of axe, each with its elements."""
    path = folder / "page.html"
    path.write_text(page.replace("</body>", RUNNER % AXE.read_text(encoding="utf-8") + "</body>"), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    options = [f"--window-size={width},2000", "--virtual-time-budget=60000", "--dump-dom", path.as_uri()]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert match, "axe did not answer"
    return json.loads(match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
