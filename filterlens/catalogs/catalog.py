"""Catalogs: which models there are, and which belong together.

A catalog is a CSV file, one model a row. A robust model names its matched normal model (same architecture and
data, trained without robust regularisation) in `match`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from filterlens.errors import CatalogError

__all__ = ["Catalog", "Entry", "Pair", "catalog_names", "load_catalog"]

_MAX_ROWS = 100_000
_MAX_BYTES = 64 << 20
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


def _optional(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _fraction(value: object) -> object:
    """Read `8/255`, `0.5` or nothing."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    try:
        over, _, under = text.partition("/")
        return float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"expected a number such as 8/255 or 0.5, got {value!r}") from None


def _channels(value: object) -> object:
    """Read `0.485 0.456 0.406` or nothing."""
    if not isinstance(value, str):
        return value
    text = value.replace(",", " ").split()
    if not text:
        return None
    try:
        return tuple(float(part) for part in text)
    except ValueError:
        raise ValueError(f"expected one number a channel, separated by blanks, got {value!r}") from None


Optional_ = BeforeValidator(_optional)


class Entry(BaseModel):
    """One model of a catalog.

    Attributes
    ----------
    model_id
        Its name in tables, figures and file names; the zoo's own id, verbatim.
    source
        Where it comes from: `robustbench:cifar10/Linf/Wong2020Fast`, a path, … (see `filterlens.loaders`).
    dataset, threat_model, architecture
        As the leaderboard names them.
    eps
        Perturbation budget in [0, 1] pixel units (L∞) or L2 norm; `8/255` is understood.
    robust
        Whether it was trained to be robust; None where nobody says.
    match
        `model_id` of the matched normal model, empty where none is known.
    match_rule
        `exact` where the normal model was trained for this very one, `architecture` where a rule chose it.
    mean, std
        Channel normalisation of the input, only where the model does not hold it itself.
    clean_acc, robust_acc
        Published accuracies in percent.
    paper
        Title or link.
    epoch
        After how many epochs (or steps) of one training this checkpoint was kept; None where it is no part of one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    model_id: Annotated[str, Field(min_length=1, max_length=300)]
    source: Annotated[str, Field(min_length=1, max_length=4096)]
    dataset: str = ""
    threat_model: str = ""
    eps: Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, BeforeValidator(_fraction)] = None
    architecture: str = ""
    robust: Annotated[bool | None, Optional_] = None
    match: str = ""
    match_rule: str = ""
    mean: Annotated[tuple[float, ...] | None, BeforeValidator(_channels)] = None
    std: Annotated[tuple[float, ...] | None, BeforeValidator(_channels)] = None
    clean_acc: Annotated[Annotated[float, Field(ge=0, le=100)] | None, Optional_] = None
    robust_acc: Annotated[Annotated[float, Field(ge=0, le=100)] | None, Optional_] = None
    paper: str = ""
    epoch: Annotated[Annotated[int, Field(ge=0)] | None, Optional_] = None

    @field_validator("model_id")
    @classmethod
    def _no_nul(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("holds a NUL character")
        if value in {".", ".."} or ".." in re.split(r"[/\\]", value):
            raise ValueError("must not point out of its folder")
        return value

    @property
    def file_stem(self) -> str:
        """The id as a safe file name; a digest keeps ids apart that would collide or be too long."""
        safe = _UNSAFE.sub("_", self.model_id).lstrip(".-")
        if safe == self.model_id and len(safe.encode()) <= 120:
            return safe
        from hashlib import sha256

        digest = sha256(self.model_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
        return f"{safe.encode()[:100].decode('utf-8', 'ignore') or 'model'}-{digest}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A robust model and its matched normal model."""

    robust: Entry
    normal: Entry


@dataclass(frozen=True, slots=True)
class Catalog:
    """Models in order, with the folder that relative sources are looked up from."""

    name: str
    entries: tuple[Entry, ...]
    folder: Path

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, model_id: str) -> Entry:
        for entry in self.entries:
            if entry.model_id == model_id:
                return entry
        raise CatalogError(f"catalog {self.name} has no model {model_id!r}")

    def pairs(self) -> tuple[Pair, ...]:
        """Every robust model whose matched normal model is in the catalog."""
        known = {entry.model_id: entry for entry in self.entries}
        return tuple(Pair(e, known[e.match]) for e in self.entries if e.robust and e.match in known)

    def unmatched(self) -> tuple[Entry, ...]:
        """Robust models without a matched normal model in the catalog."""
        known = {entry.model_id for entry in self.entries}
        return tuple(e for e in self.entries if e.robust and e.match not in known)

    def select(self, patterns: Sequence[str]) -> Self:
        """Keep the models whose id matches one of the shell patterns, and the normal partners of those.

        Raises
        ------
        CatalogError
            A pattern matches nothing.
        """
        chosen: set[str] = set()
        for pattern in patterns:
            found = {e.model_id for e in self.entries if fnmatchcase(e.model_id, pattern)}
            if not found:
                raise CatalogError(f"--models {pattern!r} matches no model of catalog {self.name}")
            chosen |= found
        chosen |= {e.match for e in self.entries if e.model_id in chosen and e.match}
        return type(self)(self.name, tuple(e for e in self.entries if e.model_id in chosen), self.folder)


def shipped_folder() -> Path:
    """Where the shipped catalogs and the bundled zoo lie: in the wheel, or in the checkout."""
    package = Path(str(resources.files("filterlens")))
    installed = package / "_catalogs"
    return installed if installed.is_dir() else package.parent / "catalogs"


def catalog_names() -> list[str]:
    """Names of the shipped catalogs."""
    return sorted(path.stem for path in shipped_folder().glob("*.csv"))


def load_catalog(name_or_path: str | Path) -> Catalog:
    """Read a shipped catalog by name, or any catalog by path.

    Parameters
    ----------
    name_or_path
        Such as `cifar10-linf`, or the path of a CSV file with at least `model_id` and `source`.

    Raises
    ------
    CatalogError
        It is not there, or a row is wrong: the message names file, line and column.
    """
    text = str(name_or_path)
    shipped = shipped_folder() / f"{text}.csv"
    if text in catalog_names():
        return read_catalog(shipped)
    path = Path(name_or_path)
    if "\0" in text or not _is_file(path):
        raise CatalogError(
            f"there is no catalog {text!r}: give the path of a CSV file or one of {', '.join(catalog_names())}"
        )
    return read_catalog(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is longer than the file system allows
        return False


def read_catalog(path: Path) -> Catalog:
    """Read and check a catalog's CSV file; see `load_catalog`."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CatalogError(f"{path} is larger than {_MAX_BYTES >> 20} MB: that is no catalog")
        text = path.read_bytes().decode("utf-8-sig")  # names keep their line ends, or none would find its dump
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror})") from error
    rows = _rows(path, text)
    entries: list[Entry] = []
    line_of: dict[str, int] = {}
    stems: dict[str, str] = {}
    for line, row in rows:
        entry = _entry(path, line, row)
        if entry.model_id in line_of:
            raise CatalogError(
                f"{path}, line {line}, column model_id: {entry.model_id!r} is already on line {line_of[entry.model_id]}"
            )
        clash = stems.setdefault(entry.file_stem.casefold(), entry.model_id)
        if clash != entry.model_id:
            raise CatalogError(
                f"{path}, line {line}, column model_id: {entry.model_id!r} and {clash!r} would share a file name"
            )
        line_of[entry.model_id] = line
        entries.append(entry)
    if not entries:
        raise CatalogError(f"{path} lists no models")
    for entry in entries:
        if entry.match and entry.match not in line_of:
            raise CatalogError(
                f"{path}, line {line_of[entry.model_id]}, column match: "
                f"no row has the model_id {entry.match!r}; add it or leave match empty"
            )
    return Catalog(path.stem, tuple(entries), path.resolve().parent)


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    if text.count("\n") > _MAX_ROWS + 1:
        raise CatalogError(f"{path} has more than {_MAX_ROWS} rows: split it")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        _check_header(path, header)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise CatalogError(
                    f"{path}, line {reader.line_num}: {len(row)} cells where the header has {len(header)} columns"
                )
            yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise CatalogError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error


def _check_header(path: Path, header: list[str]) -> None:
    known = list(Entry.model_fields)
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
        entry = Entry.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        column = first["loc"][0] if first["loc"] else "?"
        said = first["msg"].removeprefix("Value error, ")
        raise CatalogError(f"{path}, line {line}, column {column}: {said} (found {first['input']!r:.80})") from error
    if (entry.mean is None) != (entry.std is None):
        raise CatalogError(f"{path}, line {line}: mean and std go together; give both or neither")
    if entry.mean is not None and entry.std is not None:
        if len(entry.mean) != len(entry.std) or len(entry.mean) not in {1, 3}:
            raise CatalogError(f"{path}, line {line}, column std: one value a channel in both mean and std")
        if not all(map(math.isfinite, entry.mean + entry.std)):
            raise CatalogError(f"{path}, line {line}: mean and std are finite numbers")
        if min(entry.std) <= 0:
            raise CatalogError(f"{path}, line {line}, column std: a standard deviation is positive")
    return entry
