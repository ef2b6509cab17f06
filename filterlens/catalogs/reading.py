"""A catalog's CSV file, read row by row and checked: what is wrong is refused with file, line and column."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from filterlens.catalogs.entry import Entry
from filterlens.catalogs.rows import HashIndex, Rows
from filterlens.errors import CatalogError

__all__ = ["read_rows"]

_MAX_ROWS = 20_000_000
_MAX_BYTES = 4 << 30
_MAX_ROW = 16 << 20  # characters
_BLOCK = 16 << 20  # bytes that are decoded at once


def read_rows(path: Path) -> Rows:
    """Read and check a catalog's file.

    Raises
    ------
    CatalogError
        The message names file, line and column of what is wrong first.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CatalogError(f"{path} is larger than {_MAX_BYTES >> 30} GB: that is no catalog")
        with path.open("rb") as file:
            _check_text(path, file)
            with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:  # names keep their line ends
                return _checked(path, text)
    except UnicodeDecodeError as error:  # it has changed since it was checked
        raise CatalogError(f"{path} is not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror})") from error


def _check_text(path: Path, file: BinaryIO) -> None:
    """Refuse what is not UTF-8, and NUL characters; the file is left where its text begins."""
    begin = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
    file.seek(begin)
    decoder = codecs.getincrementaldecoder("utf-8")()
    place, line, block = 0, 1, b"-"
    while block:
        block, undecoded = file.read(_BLOCK), len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            byte = place - undecoded + error.start
            raise CatalogError(f"{path} is not UTF-8 text (byte {byte}): save it as UTF-8") from error
        if "\0" in text:
            line += text.count("\n", 0, text.index("\0"))
            raise CatalogError(f"{path}, line {line}: it holds a NUL character: save it as UTF-8 text")
        place += len(block)
        line += text.count("\n")
    file.seek(begin)


def _checked(path: Path, file: TextIO) -> Rows:
    """Read all rows; check each, and all of them together."""
    found = _rows(path, file)
    _, header = next(found)
    at = header.index("model_id")
    rows = Rows(["model_id", *header[:at], *header[at + 1 :]])
    lines, stems = array("Q"), array("q")
    unchecked = 0
    try:
        for line, cells in found:
            entry = _entry(path, line, dict(zip(header, cells, strict=True)))
            rows.add([entry.model_id, *cells[:at], *cells[at + 1 :]])
            lines.append(line)
            stems.append(hash(_stem(entry)))
            unchecked += 1
            if unchecked > 1000 + len(rows) // 2:  # a large file of one row again and again is not read to its end
                _check_names(path, rows, lines, stems)
                unchecked = 0
    except CatalogError:
        _check_names(path, rows, lines, stems)  # what is wrong before is said first
        raise
    _check_names(path, rows, lines, stems)
    if not rows:
        raise CatalogError(f"{path} lists no models")
    _check_matches(path, rows, lines)
    return rows


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the header, and then the cells of every row that is not blank, with the line where it ends."""
    source = _Lines(path, file)
    reader = csv.reader(source, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        _check_header(path, header)
        yield reader.line_num, header
        for row in reader:
            source.length = 0
            if reader.line_num > _MAX_ROWS + 1:
                raise CatalogError(f"{path} has more than {_MAX_ROWS} rows: split it")
            if not any(map(str.strip, row)):
                continue
            if len(row) != len(header):
                raise CatalogError(
                    f"{path}, line {reader.line_num}: {len(row)} cells where the header has {len(header)} columns"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise CatalogError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error


class _Lines(Iterator[str]):
    """Lines of a file; `length` is that of those since it was last set to 0, which has a limit."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file, self.length = path, file, 0

    def __next__(self) -> str:
        line = self.file.readline(_MAX_ROW + 1)
        if not line:
            raise StopIteration
        self.length += len(line)
        if self.length > _MAX_ROW:
            raise CatalogError(f"{self.path} has a row of more than {_MAX_ROW} characters: that is no catalog")
        return line


def _check_header(path: Path, header: list[str]) -> None:
    known = list(Entry.model_fields)
    other = next((mark for mark in (";", "\t") if len(header) == 1 and mark in header[0]), "")
    if other:
        raise CatalogError(f"{path}, line 1: cells are separated by {other!r}: save it with commas")
    for column in ("model_id", "source"):
        if column not in header:
            raise CatalogError(f"{path}, line 1: column {column!r} is missing; a catalog has {', '.join(known)}")
    unknown = [column for column in header if column not in known]
    if unknown:
        raise CatalogError(f"{path}, line 1: unknown column {unknown[0]!r}; a catalog has {', '.join(known)}")
    if len(set(header)) != len(header):
        raise CatalogError(f"{path}, line 1: a column is named twice")


def _entry(path: Path, line: int, row: dict[str, str]) -> Entry:
    try:
        return Entry.model_validate(row)
    except CatalogError as error:
        raise CatalogError(f"{path}, line {line}, {error}") from error


def _stem(entry: Entry) -> str:
    """Return the name of an entry's files to a file system that tells neither case nor composition of letters."""
    stem = entry.file_stem
    if stem.isascii():
        return stem.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())


def _check_names(path: Path, rows: Rows, lines: array[int], stems: array[int]) -> None:
    """Refuse the first row whose id, or file name, an earlier one has; `stems` are hashes."""
    index = HashIndex(stems)
    for place in index.repeated():
        name, stem = rows[place].model_id, _stem(rows[place])
        for other in index.places(stem):
            if other < place and _stem(rows[other]) == stem:  # and not the hash alone
                earlier = rows[other].model_id
                clash = (
                    f"is already on line {lines[other]}"
                    if name == earlier
                    else f"and {earlier!r} would share a file name"
                )
                raise CatalogError(f"{path}, line {lines[place]}, column model_id: {name!r} {clash}")


def _check_matches(path: Path, rows: Rows, lines: array[int]) -> None:
    """Refuse the first row whose match is not there, or robust itself."""
    for place in rows.filled("match"):
        match = rows[place].match
        other = rows.find(match) if match else place
        if other is None:
            wrong = f"no row has the model_id {match!r}; add it or leave match empty"
        elif match and rows[other].robust:
            wrong = f"{match!r} (line {lines[other]}) is robust itself; name the normal model or leave match empty"
        else:
            continue
        raise CatalogError(f"{path}, line {lines[place]}, column match: {wrong}")
