"""Pictures as the page holds them: small, and with the marks' own colours."""

from __future__ import annotations

import io

from filterlens.report.marks import MARKS

__all__ = ["inline_image"]


def inline_image(png: bytes) -> tuple[bytes, int, int]:
    """Reduce a picture to 256 colours in lossless WebP, a quarter of its size; return it with width and height.

    The colours of the marks stay what they are, however few of its pixels have them.
    """
    from PIL import Image

    kept = [int(mark.colour[i : i + 2], 16) for mark in MARKS.values() for i in (1, 3, 5)]
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        out = io.BytesIO()
        whole, palette = image.convert("RGB"), Image.new("P", (1, 1))
        palette.putpalette(kept + (whole.quantize(256 - len(MARKS)).getpalette() or [])[: 3 * (256 - len(MARKS))])
        few = whole.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")
        few.save(out, format="WEBP", lossless=True, method=6)
        return out.getvalue(), image.width, image.height
