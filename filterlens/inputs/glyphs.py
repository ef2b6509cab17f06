"""Letters of a TrueType font as small images, drawn from the outlines by exact arithmetic.

No FreeType: its rasteriser changes between releases, the outlines do not.
"""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Final

import numpy as np
from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont, TTLibError
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.fonts import LETTERS, SIDE

__all__ = ["rasterise_folder", "rasterise_font"]

_EXTENT: Final = 18.0  # pixels of a letter's longer side: room for the transformations
_SCANLINES: Final = 16  # a pixel
_PIECES: Final = 12  # straight pieces of a curve

_Point = tuple[float, float]


class _Outline(BasePen):  # type: ignore[misc]  # fontTools ships no types
    """Collects a glyph's closed contours as polygons."""

    def __init__(self, glyphs: object) -> None:
        super().__init__(glyphs)
        self.contours: list[list[_Point]] = []

    def _moveTo(self, point: _Point) -> None:  # noqa: N802 - fontTools' name
        self.contours.append([point])

    def _lineTo(self, point: _Point) -> None:  # noqa: N802
        self.contours[-1].append(point)

    def _curveToOne(self, first: _Point, second: _Point, end: _Point) -> None:  # noqa: N802
        start = self.contours[-1][-1]
        for t in np.linspace(0, 1, _PIECES + 1)[1:]:
            s = 1 - t
            weights = (s**3, 3 * s * s * t, 3 * s * t * t, t**3)
            points = (start, first, second, end)
            x, y = (float(sum(w * p[axis] for w, p in zip(weights, points, strict=True))) for axis in (0, 1))
            self.contours[-1].append((x, y))


def rasterise_font(path: Path) -> NDArray[np.uint8]:
    """Draw the letters A–J of one font.

    Parameters
    ----------
    path
        A `.ttf` file.

    Returns
    -------
        Ink from 0 to 255, shape (10, 28, 28); each letter centred, its longer side 18 pixels.

    Raises
    ------
    InputError
        The file is no font or lacks one of the letters.
    """
    # old fonts carry odd dates, of which fontTools would warn each time
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    letters = []
    try:
        with path.open("rb") as file, TTFont(file) as font:
            names, glyphs = font.getBestCmap() or {}, font.getGlyphSet()
            for letter in LETTERS:
                pen = _Outline(glyphs)
                if ord(letter) in names:
                    glyphs[names[ord(letter)]].draw(pen)
                contours = [np.asarray([*c, c[0]], dtype=np.float64) for c in pen.contours if len(c) > 2]
                if not contours:
                    raise InputError(f"{path} has no letter {letter!r}: FONTS needs {LETTERS} of every font")
                letters.append(_draw(contours))
    except (TTLibError, OSError, KeyError, ValueError, struct.error) as error:
        raise InputError(f"{path} cannot be read as a TrueType font ({error}): remove it from the folder") from error
    return np.stack(letters)


def rasterise_folder(folder: Path) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Draw the letters A–J of every `.ttf` file of a folder.

    Returns
    -------
        The fonts' names in order, and their letters, shape (fonts, 10, 28, 28).

    Raises
    ------
    InputError
        There is no font, or one cannot be drawn.
    """
    files = sorted(folder.glob("*.ttf"))
    if not files:
        raise InputError(f"{folder} holds no .ttf file: --fonts takes a folder of TrueType fonts")
    return tuple(path.stem for path in files), np.stack([rasterise_font(path) for path in files])


def _draw(contours: list[NDArray[np.float64]]) -> NDArray[np.uint8]:
    """Ink of closed polygons, shape (28, 28): exact along x, sampled along y."""
    corners = np.concatenate(contours)
    low, high = corners.min(axis=0), corners.max(axis=0)
    zoom = _EXTENT / float((high - low).max())
    centre = (low + high) / 2
    start, end = (
        np.concatenate([(part - centre) * (zoom, -zoom) + SIDE / 2 for part in side])
        for side in zip(*((c[:-1], c[1:]) for c in contours), strict=True)
    )  # (edges, 2), y pointing down
    scanlines = (np.arange(SIDE * _SCANLINES) + 0.5) / _SCANLINES
    columns = np.arange(1, SIDE + 1, dtype=np.float64)
    ink = np.zeros((len(scanlines), SIDE))
    for (x0, y0), (x1, y1) in zip(start, end, strict=True):
        crossed = (scanlines >= min(y0, y1)) & (scanlines < max(y0, y1))
        if crossed.any():
            x = x0 + (scanlines[crossed] - y0) * (x1 - x0) / (y1 - y0)
            # every pixel to the right of an edge is one winding further in, or out
            ink[crossed] += np.sign(y1 - y0) * np.clip(columns - x[:, None], 0, 1)
    ink = np.clip(np.abs(ink), 0, 1).reshape(SIDE, _SCANLINES, SIDE).mean(axis=1)
    drawn: NDArray[np.uint8] = np.rint(ink * 255).astype(np.uint8)
    return drawn
