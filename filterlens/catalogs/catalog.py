"""Catalogs: which models there are, and which belong together.

A catalog is a CSV file, one model a row. A robust model names its matched normal model (same architecture and
data, trained without robust regularisation) in `match`.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from filterlens.catalogs.validation import explain_invalid
from filterlens.errors import CatalogError
from filterlens.process.files import is_file

__all__ = ["Catalog", "Entry", "Pair", "catalog_names", "load_catalog"]

_MAX_ROWS = 100_000
_MAX_BYTES = 64 << 20
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE
)  # by Windows


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
        raise ValueError("a number such as 8/255 or 0.5 was expected") from None


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
        raise ValueError("one number a channel, separated by blanks, was expected") from None


def _said(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


Optional_ = BeforeValidator(_optional)
Text = Annotated[str, Field(max_length=4096)]
Percent = Annotated[Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None, Optional_]


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
        Perturbation budget: L∞ in [0, 1] pixel units, or L2 where that is the threat model; `8/255` is understood.
    robust
        Whether it was trained to be robust; None where nobody says.
    match
        `model_id` of the matched normal model, empty where none is known.
    match_rule
        `exact` where the normal model was trained for this very one, `architecture` where a rule chose it.
    mean, std
        Channel normalisation of images in [0, 1], only where the model does not hold it itself; 0 and 1 say that it
        was trained on images as they are.
    differs
        What its training has that its match's has not, where the catalog says so: `pre-training on ImageNet-21k`.
    clean_acc, robust_acc
        Published accuracies in percent.
    real_acc, v2_acc, a_acc, r_acc, sketch_acc
        Published accuracies in percent on ImageNet ReaL, V2, A, R and Sketch.
    params_million
        Number of parameters in millions.
    input_size
        Height and width in pixels of the images of which the accuracies are.
    licence
        Of the weights, as an SPDX name, where their source states one.
    paper
        Title or link.
    epoch
        After how many epochs (or steps) of one training this checkpoint was kept; None where it is no part of one.
    training
        Name of that training; where empty, checkpoints in one folder are of one training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    model_id: Annotated[str, Field(min_length=1, max_length=300)]
    source: Annotated[str, Field(min_length=1, max_length=4096)]
    dataset: Text = ""
    threat_model: Text = ""
    eps: Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, BeforeValidator(_fraction)] = None
    architecture: Text = ""
    robust: Annotated[bool | None, Optional_] = None
    match: Text = ""
    match_rule: Text = ""
    mean: Annotated[tuple[float, ...] | None, BeforeValidator(_channels)] = None
    std: Annotated[tuple[float, ...] | None, BeforeValidator(_channels)] = None
    clean_acc: Percent = None
    robust_acc: Percent = None
    paper: Text = ""
    epoch: Annotated[Annotated[int, Field(ge=0, le=1 << 53)] | None, Optional_] = None
    training: Text = ""
    differs: Text = ""
    real_acc: Percent = None
    v2_acc: Percent = None
    a_acc: Percent = None
    r_acc: Percent = None
    sketch_acc: Percent = None
    params_million: Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, Optional_] = None
    input_size: Annotated[Annotated[int, Field(gt=0, le=1 << 16)] | None, Optional_] = None
    licence: Text = ""

    @field_validator("model_id")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("printable characters were expected")
        if value in {".", ".."} or ".." in re.split(r"[/\\]", value):
            raise ValueError("it must not point out of its folder")
        return value

    @model_validator(mode="after")
    def _is_normalisation(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise CatalogError("columns mean and std go together; give both or neither")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std) or len(self.mean) not in {1, 3}:
                raise CatalogError("column std: one value a channel in both mean and std")
            if not all(map(math.isfinite, self.mean + self.std)):
                raise CatalogError("columns mean and std are finite numbers")
            if min(self.std) <= 0:
                raise CatalogError("column std: a standard deviation is positive")
            for column, values in (("mean", self.mean), ("std", self.std)):
                if not 0 <= min(values) <= max(values) <= 1:
                    raise CatalogError(
                        f"column {column}: images lie in [0, 1], and so does their {column}; got {_said(values)}: "
                        "divide what is of pixels in 0 … 255 by 255"
                    )
        return self

    @model_validator(mode="after")
    def _is_budget(self) -> Self:
        if self.eps is not None and self.eps > 1 and self.threat_model != "L2":  # which alone is attacked in L2
            raise CatalogError(
                f"column eps: images lie in [0, 1], where an L∞ radius is at most 1; got {self.eps:g}: write "
                f"{self.eps:g}/255, or the threat_model L2 where it is that norm"
            )
        return self

    @model_validator(mode="after")
    def _is_match(self) -> Self:
        if self.match and self.match == self.model_id:
            raise CatalogError(
                f"column match: {self.match!r} is matched to itself; name its normal model or leave match empty"
            )
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, values: object, check: ModelWrapValidatorHandler[Self]) -> Self:
        """Let wrong values be a `CatalogError`, wherever an entry is made."""
        try:
            return check(values)
        except ValidationError as error:
            column, said = explain_invalid(error)
            raise CatalogError(f"column {column}: {said}") from error

    @property
    def file_stem(self) -> str:
        """The id as a safe file name; a digest keeps ids apart that would collide or be too long."""
        safe = _UNSAFE.sub("_", self.model_id).lstrip(".-")
        if safe == self.model_id and len(safe.encode()) <= 120 and not _RESERVED.fullmatch(safe) and safe[-1] != ".":
            return safe
        digest = sha256(self.model_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
        start = safe.encode()[:100].decode("utf-8", "ignore") or "model"
        return f"{'_' if _RESERVED.fullmatch(start) else ''}{start}-{digest}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A robust model and its matched normal model."""

    robust: Entry
    normal: Entry


@dataclass(frozen=True, slots=True)
class Catalog:
    """Models in order, with the folder that relative sources are looked up from.

    `chosen_from` are all models of the catalog that these were selected from; empty: these are all.
    """

    name: str
    entries: tuple[Entry, ...]
    folder: Path
    chosen_from: tuple[Entry, ...] = ()

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

    def twins(self) -> tuple[Entry, ...]:
        """Models that are not robust whose match, of the same architecture and trained otherwise, is in the catalog."""
        known = {entry.model_id for entry in self.entries}
        return tuple(e for e in self.entries if not e.robust and e.match in known)

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
        kept = tuple(e for e in self.entries if e.model_id in chosen)
        return type(self)(self.name, kept, self.folder, self.chosen_from or self.entries)


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
    if "\0" in text or not is_file(path):
        raise CatalogError(
            f"there is no catalog {text!r}: give the path of a CSV file or one of {', '.join(catalog_names())}"
        )
    return read_catalog(path)


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
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CatalogError(f"{path}, line {line}: it holds a NUL character: save it as UTF-8 text")
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
        # file systems tell neither case nor the composition of letters apart
        stem = unicodedata.normalize("NFC", unicodedata.normalize("NFC", entry.file_stem).casefold())
        clash = stems.setdefault(stem, entry.model_id)
        if clash != entry.model_id:
            raise CatalogError(
                f"{path}, line {line}, column model_id: {entry.model_id!r} and {clash!r} would share a file name"
            )
        line_of[entry.model_id] = line
        entries.append(entry)
    if not entries:
        raise CatalogError(f"{path} lists no models")
    by_id = {entry.model_id: entry for entry in entries}
    for entry in entries:
        if entry.match and entry.match not in line_of:
            raise CatalogError(
                f"{path}, line {line_of[entry.model_id]}, column match: "
                f"no row has the model_id {entry.match!r}; add it or leave match empty"
            )
        if entry.match and by_id[entry.match].robust:
            raise CatalogError(
                f"{path}, line {line_of[entry.model_id]}, column match: {entry.match!r} (line {line_of[entry.match]}) "
                "is robust itself; name the normal model or leave match empty"
            )
    return Catalog(path.stem, tuple(entries), path.resolve().parent)


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        _check_header(path, header)
        for row in reader:
            if reader.line_num > _MAX_ROWS + 1:
                raise CatalogError(f"{path} has more than {_MAX_ROWS} rows: split it")
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
        return Entry.model_validate(row)
    except CatalogError as error:
        raise CatalogError(f"{path}, line {line}, {error}") from error
