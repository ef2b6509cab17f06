"""Checkpoints of one training as a catalog: one row a checkpoint, in the order of their epochs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from filterlens.catalogs import Catalog, Entry
from filterlens.errors import CatalogError
from filterlens.process.files import is_folder

__all__ = ["Trajectory", "epoch_of", "read_trajectory"]

SUFFIXES: Final = (".pt", ".pth", ".th", ".ckpt", ".bin", ".tar", ".safetensors", ".onnx")
FILLED: Final = ("bundled", "module", "timm", "torchvision")
_NAMED: Final = re.compile(r"(epochs?|ep|e|iterations?|iter|steps?)[-_=. ]*(\d+)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d+")
_STEPS: Final = ("iter", "step")


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A training's checkpoints.

    Parameters
    ----------
    catalog
        One row a checkpoint, by epoch.
    left_out
        Checkpoints whose names tell no epoch, such as `best.pt`.
    """

    catalog: Catalog
    left_out: tuple[Path, ...]


def read_trajectory(
    folder: Path, architecture: str = "", *, eps: str = "", mean: str = "", std: str = ""
) -> Trajectory:
    """Find the checkpoints of a training.

    Parameters
    ----------
    folder
        Holds them, or the first of its folders that does.
    architecture
        What their weights fill: `timm:NAME`, `torchvision:NAME`, `module:package.mod:factory`, or
        `bundled:ARCHITECTURE`. Without it only lenses that need no network apply.
    eps
        L∞ radius of attacks in [0, 1] pixel units, such as `8/255`.
    mean, std
        Normalisation of the input, one number a channel, separated by blanks; empty where the network does it itself.

    Raises
    ------
    CatalogError
        There are no checkpoints, two are of the same epoch, no epoch is to be told, or a number is wrong.
    """
    files = _checkpoints(folder)
    scheme = architecture.partition(":")[0]
    if architecture and scheme not in FILLED:
        raise CatalogError(
            f"--arch {architecture!r}: write {', '.join(f'{name}:…' for name in FILLED)} and the architecture's name"
        )
    known = {path: epoch for path in files if (epoch := epoch_of(path.stem)) is not None}
    if not known:
        raise CatalogError(
            f"no name in {files[0].parent} tells an epoch (such as {files[0].name}): call the files epoch-001.pt, "
            "checkpoint_12.pt, epoch=3-step=400.ckpt, …"
        )
    seen: dict[int, Path] = {}
    for path, epoch in known.items():
        if (other := seen.setdefault(epoch, path)) != path:
            raise CatalogError(f"{other.name} and {path.name} in {path.parent} are both of epoch {epoch}: keep one")
    if bool(mean) != bool(std):
        raise CatalogError("--mean and --std go together; give both or neither")
    facts = {"eps": eps, "mean": mean, "std": std, "threat_model": "Linf" if eps else ""}
    entries = tuple(_entry(path, epoch, architecture, facts) for epoch, path in sorted(seen.items()))
    place = files[0].parent.resolve()
    left_out = tuple(path for path in files if path not in known)
    return Trajectory(Catalog(folder.resolve().name, entries, place), left_out)


def _entry(path: Path, epoch: int, architecture: str, facts: dict[str, str]) -> Entry:
    own = {
        "model_id": path.stem,
        "source": f"{architecture}?weights={quote(path.name)}" if architecture else path.name,
        "architecture": architecture.partition(":")[2],
        "epoch": epoch,
    }
    try:
        return Entry.model_validate(own | facts)
    except CatalogError as error:
        raise CatalogError(str(error).replace("column ", "--", 1)) from error


def epoch_of(stem: str) -> int | None:
    """Read the epoch from a checkpoint's name; steps where it counts steps, the last number where it names neither.

    Examples
    --------
    >>> [epoch_of(name) for name in ("epoch=12-step=4000", "ckpt_e7", "resnet18_step500", "resnet18-0009", "best")]
    [12, 7, 500, 9, None]
    """
    named = {word.lower(): int(number) for word, number in _NAMED.findall(stem)}
    for word, number in named.items():
        if not word.startswith(_STEPS):
            return number
    if named:
        return next(iter(named.values()))
    numbers = _NUMBER.findall(stem)
    return int(numbers[-1]) if numbers else None


def _checkpoints(folder: Path) -> list[Path]:
    if not is_folder(folder):
        raise CatalogError(f"there is no folder {folder}")
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()) for place in places]
    found = [files for files in found if files]
    if not found:
        raise CatalogError(f"{folder} holds no checkpoints: files such as epoch-001.pt were expected in it")
    return next((files for files in found if any(epoch_of(path.stem) is not None for path in files)), found[0])
