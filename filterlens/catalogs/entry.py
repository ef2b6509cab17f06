"""One model of a catalog: the columns of its row, and what each of them may hold."""

from __future__ import annotations

import math
import re
from hashlib import sha256
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

__all__ = ["Entry"]

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
