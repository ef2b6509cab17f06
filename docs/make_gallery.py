"""Write docs/gallery.md from a finished run: `python docs/make_gallery.py [FOLDER]` (default reports/fonts-linf)."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from filterlens.api import all_figures

DOCS = Path(__file__).parent
WIDTH = 1000


def main() -> None:
    """Shrink every figure of the run into docs/images/gallery, and list them with their captions."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS.parent / "reports" / "fonts-linf"
    images = DOCS / "images" / "gallery"
    images.mkdir(parents=True, exist_ok=True)
    parts = [
        "# Gallery\n",
        "Every figure of the bundled zoo's report, with the caption that lies beside it. `filterlens report` writes "
        "each as PDF, PNG and a CSV of exactly the plotted numbers.\n",
    ]
    lens = ""
    for figure in all_figures():
        picture = folder / "figures" / f"{figure.name}.png"
        if not picture.is_file():
            continue
        if figure.lens != lens:
            lens = figure.lens
            parts.append(f"## {lens.capitalize()}\n")
        shrink(picture, images / picture.name)
        caption = picture.with_suffix(".txt").read_text(encoding="utf-8").strip()
        parts += [f"### {figure.title}\n", f"![{figure.title}](images/gallery/{picture.name})\n", f"{caption}\n"]
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def shrink(source: Path, target: Path) -> None:
    """Save a picture at most `WIDTH` pixels wide with 64 colours."""
    with Image.open(source) as picture:
        flat = picture.convert("RGB")
        flat.thumbnail((WIDTH, 10 * WIDTH))
        flat.quantize(64).save(target, optimize=True)


if __name__ == "__main__":
    main()
