"""Take the picture of README: the top of the report on the labels that README itself shows (Chromium is needed).

python -m tools.picture docs/report.png
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import crowdjax

README = Path(__file__).parents[1] / "README.md"
SIZE = (900, 858)  # CSS pixels, two device pixels each: as wide as README is shown
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(out: Path) -> None:
    """Write the picture to a PNG file."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is there")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "labels.csv")
        table.write_text(re.search(r"```csv\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1])
        crowdjax.fit(table, form="wide").save(Path(folder, "result"), report=True)
        size = "{},{}".format(*SIZE)
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
        ]
        flags += ["--force-device-scale-factor=2", f"--window-size={size}", f"--screenshot={out.resolve()}"]
        page = Path(folder, "result", "report.html").as_uri()
        subprocess.run([browser, *flags, "--blink-settings=preferredColorScheme=1", page], check=True, timeout=120)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
