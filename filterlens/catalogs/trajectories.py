"""Checkpoints of trainings as a catalog: one row a checkpoint, training by training, in the order of their epochs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote, unquote

from filterlens.catalogs import Catalog, Entry
from filterlens.errors import CatalogError
from filterlens.process.files import is_folder

__all__ = ["Trajectory", "checkpoint_entry", "epoch_of", "read_trajectory", "training_of"]

SUFFIXES: Final = (".pt", ".pth", ".th", ".ckpt", ".bin", ".tar", ".safetensors", ".onnx")
FILLED: Final = ("bundled", "module", "timm", "torchvision")
_NAMED: Final = re.compile(r"(epochs?|ep|e|iterations?|iter|steps?)[-_=. ]*(\d+)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d+")
_STEPS: Final = ("iter", "step")
_WEIGHTS: Final = "?weights="
_DEPTH: Final = 2  # folders below the one that is given: TRAINING/checkpoints


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The checkpoints of one or several trainings.

    Parameters
    ----------
    catalog
        One row a checkpoint, by training and epoch.
    left_out
        Checkpoints whose names tell no epoch, such as `best.pt`.
    """

    catalog: Catalog
    left_out: tuple[Path, ...]


def read_trajectory(
    folder: Path, architecture: str = "", *, eps: str = "", mean: str = "", std: str = ""
) -> Trajectory:
    """Find the checkpoints of one or several trainings.

    Parameters
    ----------
    folder
        Holds them; or each of its folders that does, up to two levels down, is a training.
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
        There are no checkpoints, two of a training are of the same epoch, no epoch is to be told, or a number is wrong.
    """
    facts = {"eps": eps, "mean": mean, "std": std}
    trainings = _trainings(folder)
    place = trainings[0] if len(trainings) == 1 else folder
    entries: list[Entry] = []
    left_out: list[Path] = []
    for training in trainings:
        name = "" if len(trainings) == 1 else _name(training, folder)
        files = _checkpoints(training)
        for epoch, path in sorted(_by_epoch(files).items()):
            model_id = f"{name}-{path.stem}".replace("/", "-") if name else path.stem
            where = path.relative_to(place).as_posix()
            entries.append(checkpoint_entry(model_id, where, architecture, epoch=epoch, training=name, **facts))
        left_out += [path for path in files if epoch_of(path.stem) is None]
    return Trajectory(Catalog(folder.resolve().name, tuple(entries), place.resolve()), tuple(left_out))


def _by_epoch(files: list[Path]) -> dict[int, Path]:
    seen: dict[int, Path] = {}
    for path in files:
        epoch = epoch_of(path.stem)
        if epoch is not None and (other := seen.setdefault(epoch, path)) != path:
            raise CatalogError(f"{other.name} and {path.name} in {path.parent} are both of epoch {epoch}: keep one")
    return seen


def checkpoint_entry(
    model_id: str,
    source: str,
    architecture: str = "",
    *,
    eps: str | float = "",
    mean: str | Sequence[float] = "",
    std: str | Sequence[float] = "",
    epoch: int | None = None,
    training: str = "",
) -> Entry:
    """Make the row of one checkpoint that no catalog lists; see `read_trajectory`.

    Raises
    ------
    CatalogError
        A value is wrong; the message names its option.
    """
    if architecture and architecture.partition(":")[0] not in FILLED:
        raise CatalogError(
            f"--arch {architecture!r}: write {', '.join(f'{name}:…' for name in FILLED)} and the architecture's name"
        )
    if bool(mean) != bool(std):
        raise CatalogError("--mean and --std go together; give both or neither")
    values = {
        "model_id": model_id,
        "source": f"{architecture}{_WEIGHTS}{quote(source)}" if architecture else source,
        "architecture": architecture.partition(":")[2],
        "eps": eps,
        "mean": mean,
        "std": std,
        "threat_model": "Linf" if eps else "",
        "epoch": epoch,
        "training": training,
    }
    try:
        return Entry.model_validate(values)
    except CatalogError as error:
        raise CatalogError(str(error).replace("column ", "--", 1)) from error


def training_of(entry: Entry) -> str:
    """Name the training that a checkpoint is of: the catalog's, or else the folder of its file.

    Examples
    --------
    >>> training_of(Entry(model_id="a", source="timm:resnet18?weights=runs/pgd/epoch-3.pt"))
    'runs/pgd'
    """
    before, _, weights = entry.source.partition(_WEIGHTS)
    return entry.training or str(PurePosixPath(unquote(weights) or before).parent)


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


def _trainings(folder: Path) -> list[Path]:
    """Folders whose checkpoints tell epochs: the folder itself, or else all of those below it.

    Raises
    ------
    CatalogError
        There is none.
    """
    if not is_folder(folder):
        raise CatalogError(f"there is no folder {folder}")
    if found := _below(folder, _tells_epochs):
        return found
    silent = _below(folder, _checkpoints)
    if not silent:
        raise CatalogError(f"{folder} holds no checkpoints: files such as epoch-001.pt were expected in it")
    raise CatalogError(
        f"no name in {silent[0]} tells an epoch (such as {_checkpoints(silent[0])[0].name}): call the files "
        "epoch-001.pt, checkpoint_12.pt, epoch=3-step=400.ckpt, …"
    )


def _below(place: Path, is_one: Callable[[Path], object], depth: int = _DEPTH) -> list[Path]:
    """Return the folder itself where it is one; or else those of its folders that are, and so on down."""
    if is_one(place):
        return [place]
    folders = sorted(path for path in place.iterdir() if path.is_dir()) if depth else []
    return [found for path in folders for found in _below(path, is_one, depth - 1)]


def _tells_epochs(place: Path) -> bool:
    return any(epoch_of(path.stem) is not None for path in _checkpoints(place))


def _checkpoints(place: Path) -> list[Path]:
    return sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def _name(training: Path, folder: Path) -> str:
    """Path of a training below the folder, without a last `checkpoints`."""
    parts = training.relative_to(folder).parts
    return "/".join(parts[:-1] if len(parts) > 1 and parts[-1] == "checkpoints" else parts)
