"""The README's picture of the report: its head, with what to do on Monday, as a PNG.

python .github/picture.py outputs/report.html .github/report.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1100, 1010
MAX_BYTES = 200_000


def main(report: Path, picture: Path) -> None:
    """Render the first screen of the report, and keep 64 colours of it."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "report.png"
        subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--hide-scrollbars"),
                *(f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={drawn}", report.resolve().as_uri()),
            ],
            check=True,
            capture_output=True,
        )
        Image.open(drawn).convert("RGB").quantize(64).save(picture, optimize=True)
    if picture.stat().st_size > MAX_BYTES:
        sys.exit(f"{picture}: expected at most {MAX_BYTES:,} bytes, got {picture.stat().st_size:,}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
