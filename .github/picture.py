"""The README's picture of the report: its headline figures and the first cards, as a PNG.

python .github/picture.py outputs/report.html .github/report.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1100, 1010
MAX_BYTES = 200_000
ONLY_CARDS = """<style>
nav, footer, .sizes, section:not(:has(#shop, #segments)) { display: none }
section:has(#segments) > :not(h2, .cards), .cards > :nth-child(n + 3) { display: none }
</style></head>"""


def main(report: Path, picture: Path) -> None:
    """Render the report without its long sections, and keep 64 colours of it."""
    page = report.read_text(encoding="utf-8").replace("</head>", ONLY_CARDS, 1)
    with tempfile.TemporaryDirectory() as folder:
        source, drawn = Path(folder) / "report.html", Path(folder) / "report.png"
        source.write_text(page, encoding="utf-8")
        subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--hide-scrollbars"),
                *(f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={drawn}", source.as_uri()),
            ],
            check=True,
            capture_output=True,
        )
        Image.open(drawn).convert("RGB").quantize(64).save(picture, optimize=True)
    if picture.stat().st_size > MAX_BYTES:
        sys.exit(f"{picture}: expected at most {MAX_BYTES:,} bytes, got {picture.stat().st_size:,}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
