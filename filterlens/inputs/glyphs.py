"""Letters of a TrueType font as small images, drawn from the outlines by exact arithmetic.

No FreeType: its rasteriser changes between releases, the outlines do not.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont, TTLibError
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.reading import read_regular

__all__ = ["LETTERS", "SIDE", "font_files", "rasterise_folder", "rasterise_font"]

LETTERS: Final = "ABCDEFGHIJ"
SIDE: Final = 28  # pixels

_EXTENT: Final = 18.0  # pixels of a letter's longer side: room for the transformations
_SCANLINES: Final = 16  # a pixel
_PIECES: Final = 12  # straight pieces of a curve
_TRUETYPE: Final = {b"\0\1\0\0", b"true"}
_MAX_FILE: Final = 1 << 26
_MAX_LOCATIONS: Final = 1 << 19  # bytes; a font has at most 65536 glyphs
_MAX_SUBTABLES: Final = 64
_UNICODE_FORMS: Final = {0, 4, 6, 10, 12, 13, 14}
_MAX_CHARACTERS: Final = 1_200_000  # Unicode's 1.1 million, once
_FREE_STEPS: Final = 10_000  # of a font's ten outlines, beside one for every other byte of the file

_Point = tuple[float, float]


class _Outline(BasePen):  # type: ignore[misc]  # fontTools ships no types
    """Collects a glyph's closed contours as polygons, of as many steps as the budget allows."""

    def __init__(self, glyphs: object, steps: Iterator[int]) -> None:
        super().__init__(glyphs)
        self.contours: list[list[_Point]] = []
        self._steps = steps

    def addComponent(self, name: str, transformation: object) -> None:  # noqa: N802 - fontTools' name
        self._step()  # a glyph of glyphs of glyphs may draw nothing, and take for ever to do so
        super().addComponent(name, transformation)

    def _moveTo(self, point: _Point) -> None:  # noqa: N802
        self._step()
        self.contours.append([point])

    def _lineTo(self, point: _Point) -> None:  # noqa: N802
        self._step()
        self.contours[-1].append(point)

    def _step(self) -> None:
        if next(self._steps, None) is None:
            raise ValueError("its letters have more points than a file of its size needs")

    def _curveToOne(self, first: _Point, second: _Point, end: _Point) -> None:  # noqa: N802
        self._step()
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
        A `.ttf` file with TrueType outlines.

    Returns
    -------
        Ink from 0 to 255, shape (10, 28, 28); each letter centred, its longer side 18 pixels.

    Raises
    ------
    InputError
        The file is no font or lacks one of the letters.
    """
    # old fonts carry odd dates, of which fontTools would warn each time
    logging.getLogger("fontTools").setLevel(logging.CRITICAL)
    try:
        content = read_regular(path, _MAX_FILE)
        if content[:4] not in _TRUETYPE:  # compressed and collected fonts have other first bytes
            raise TTLibError("it does not begin as one")
        with TTFont(io.BytesIO(content)) as font:
            _check_tables(font)
            letters = _outlines(font, path, iter(range(_FREE_STEPS + len(content) // 2)))
            return np.stack([_draw(letter) for letter in letters])
    except (InputError, MemoryError):
        raise
    except Exception as error:  # fontTools raises anything on a damaged file
        raise InputError(f"{path} cannot be read as a TrueType font ({error}): remove it from the folder") from error


def _outlines(font: TTFont, path: Path, steps: Iterator[int]) -> list[list[NDArray[np.float64]]]:
    """Collect each letter's closed polygons."""
    names, glyphs = font.getBestCmap() or {}, font.getGlyphSet()
    letters = []
    for letter in LETTERS:
        pen = _Outline(glyphs, steps)
        if ord(letter) in names:
            glyphs[names[ord(letter)]].draw(pen)
        contours = [np.asarray([*c, c[0]], dtype=np.float64) for c in pen.contours if len(c) > 2]
        if not contours or not np.ptp(np.concatenate(contours), axis=0).any():
            raise InputError(f"{path} has no letter {letter!r}: FONTS needs {LETTERS} of every font")
        letters.append(contours)
    return letters


def _check_tables(font: TTFont) -> None:
    """Refuse a font that is not drawn from its `glyf` table, or whose `cmap` fontTools would unfold without end."""
    programs = sorted({"CFF ", "CFF2", "VARC", "GLYF"} & set(font.reader.keys()))
    if programs:
        raise TTLibError(f"its letters are in the table {programs[0].strip()}, which is not read")
    if "loca" in font.reader and font.reader.tables["loca"].length > _MAX_LOCATIONS:
        raise TTLibError("it has more glyphs than a font can have")
    cmap = font.reader["cmap"]
    records = list(struct.iter_unpack(">HHL", cmap[4 : 4 + 8 * struct.unpack_from(">H", cmap, 2)[0]]))
    if len(records) > _MAX_SUBTABLES:
        raise TTLibError(f"it has {len(records)} tables of characters")
    for platform, encoding, offset in records:
        (form,) = struct.unpack_from(">H", cmap, offset)
        if (platform == 0 or (platform, encoding) in {(3, 0), (3, 1), (3, 10)}) and form not in _UNICODE_FORMS:
            raise TTLibError(f"its characters are in a table of form {form}, which is not read")
    characters = sum(_count_characters(cmap, offset) for offset in {record[2] for record in records})
    if characters > _MAX_CHARACTERS:
        raise TTLibError(f"it names {characters} characters")


def _count_characters(cmap: bytes, offset: int) -> int:
    """How many entries a subtable of ranges unfolds to; those of other forms hold at most one a byte."""
    (form,) = struct.unpack_from(">H", cmap, offset)
    if form == 4:
        n = struct.unpack_from(">H", cmap, offset + 6)[0] // 2
        last, first = (np.frombuffer(cmap, ">u2", n, offset + place) for place in (14, 16 + 2 * n))
    elif form in {12, 13}:
        (n,) = struct.unpack_from(">L", cmap, offset + 12)
        groups = np.frombuffer(cmap, ">u4", 3 * n, offset + 16).reshape(n, 3)
        first, last = groups[:, 0], groups[:, 1]
    else:
        return 0
    return int((last.astype(np.int64) - first.astype(np.int64) + 1).clip(min=0).sum())


def font_files(folder: Path) -> list[Path]:
    """List the `.ttf` files of a folder, in order.

    Raises
    ------
    InputError
        There is none.
    """
    files = sorted(folder.glob("*.ttf"))
    if not files:
        raise InputError(f"{folder} holds no .ttf file: --fonts takes a folder of TrueType fonts")
    return files


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
    files = font_files(folder)
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
