"""Screenshots of the reports of 9, 69 and 206 synthetic models, and what axe-core finds wrong with their pages.

`python tools/screenshots.py --chromium chromium --axe axe.min.js` (of the npm package `axe-core`).
`--runs FOLDER` keeps the runs, and takes those whose page is there; `--out` is where the pictures go.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from PIL import Image
from report.chromium import Chromium, start

from benchmarks.page import make
from filterlens.commands.report import all_figures, all_tables
from filterlens.report import write_report
from filterlens.report.inline import inline_image

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "report"
MOST_BYTES = 150_000
MODELS = (9, 69, 206)
SIZES = ((1400, 900), (390, 844))
PARTS = {  # of the page of most models, by the names of the pictures
    "compared": "#compared",
    "matrix": "#figure-filters_shift_models",
    "chart": "#models",
    "models": "#table-models",
}


def page_of(folder: Path, n: int) -> Path:
    """Return the page of `n` models; written where it is not there."""
    index = folder / f"models-{n}" / "index.html"
    if not index.is_file():
        write_report(make(index.parent, n, 40), figures=all_figures(), tables=all_tables())
    return index


def shoot(browser: Chromium, out: Path, name: str, part: str = "") -> None:
    """Save the window, scrolled to a part of the page: lossless WebP of 256 colours, or lossy where that is large."""
    if part:
        browser.run(f"document.querySelector({part!r}).scrollIntoView({{ behavior: 'instant' }})")
    path = out / f"{name}.webp"
    png = browser.screenshot()
    path.write_bytes(inline_image(png)[0])
    if path.stat().st_size > MOST_BYTES:
        Image.open(io.BytesIO(png)).convert("RGB").save(path, quality=60)
    say(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="chromium", help="path or name of the browser")
    parser.add_argument("--axe", type=Path, help="path of axe.min.js")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    chromium = shutil.which(args.chromium)
    if chromium is None:
        parser.error(f"there is no browser {args.chromium!r}")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, start(chromium, Path(scratch) / "profile") as browser:
        say(browser.version)
        for n in MODELS:
            index = page_of(args.runs or Path(scratch), n)
            for width, height in SIZES:
                for dark in (False, True):
                    name = f"{n}-{width}{'-dark' if dark else ''}"
                    browser.open(index, width=width, height=height, dark=dark)
                    if n == max(MODELS) or not dark:
                        shoot(browser, args.out, name)
                    for part, place in PARTS.items() if n == max(MODELS) and not dark else ():
                        shoot(browser, args.out, f"{name}-{part}", place)
                    if args.axe is not None:
                        say("\n  ".join([f"axe, {name}:", *(browser.violations(args.axe) or ["no violation"])]))


if __name__ == "__main__":
    main()
