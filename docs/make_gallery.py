"""Write docs/gallery.md and its images from a finished run: `python docs/make_gallery.py reports/fonts-linf`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from filterlens.commands.report import all_figures

DOCS = Path(__file__).parent
WIDTH = 1000


def main() -> None:
    """Shrink every figure of the run into docs/images/gallery, and list them with their captions."""
    if len(sys.argv) != 2:
        sys.exit("name the folder of a finished run: python docs/make_gallery.py reports/fonts-linf")
    folder = Path(sys.argv[1])
    images = DOCS / "images" / "gallery"
    images.mkdir(parents=True, exist_ok=True)
    parts = [
        "# Gallery\n",
        "Every figure of the zoo on FONTS's report, with the caption that lies beside it. `filterlens report` writes "
        "each as PDF, PNG and a CSV of exactly the plotted numbers.\n",
    ]
    lens = ""
    pictures = {figure: folder / "figures" / f"{figure.name}.png" for figure in all_figures()}
    drawn = {figure: picture for figure, picture in pictures.items() if picture.is_file()}
    widest = max(width(picture) for picture in drawn.values())
    for figure, picture in drawn.items():
        if figure.lens != lens:
            lens = figure.lens
            parts.append(f"## {lens.capitalize()}\n")
        shrink(picture, images / picture.name, WIDTH / widest)
        caption = picture.with_suffix(".txt").read_text(encoding="utf-8").strip().removeprefix(f"{figure.title}. ")
        shown = f"![{figure.title}](images/gallery/{picture.name})"  # as large as it is: plain Markdown names no size
        parts += [f"### {figure.title}\n", f"{shown}\n", f"{caption}\n"]
    if absent := [f"{figure.title} (`{figure.name}`)" for figure in pictures if figure not in drawn]:
        parts.append(f"## Not drawn here\n\nThe zoo on FONTS holds nothing for them: {', '.join(absent)}.\n")
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def width(picture: Path) -> int:
    """Return a picture's width in pixels."""
    with Image.open(picture) as opened:
        return opened.width


def shrink(source: Path, target: Path, scale: float) -> None:
    """Save a picture smaller and with 64 colours; one scale for all, so that letters are equally large."""
    with Image.open(source) as picture:
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).quantize(64).save(target, optimize=True)


if __name__ == "__main__":
    main()
