"""CelebA as it is published: aligned images, a table of attributes, and the table of its splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from filterlens.errors import InputError
from filterlens.inputs.arrays import as_images
from filterlens.inputs.folder import read_images
from filterlens.inputs.images import Images
from filterlens.inputs.reading import read_regular
from filterlens.process.digests import combined_digest, file_digest

__all__ = ["ATTRIBUTE", "CelebA", "find_celeba"]

ATTRIBUTE: Final = "Male"
_IMAGES: Final = "img_align_celeba"
_ATTRIBUTES: Final = "list_attr_celeba.txt"
_PARTITION: Final = "list_eval_partition.txt"
_SPLITS: Final = {"train": "0", "test": "2"}
_MAX_TABLE: Final = 1 << 28
_FILE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\.(?:jpg|png)")


@dataclass(frozen=True, slots=True)
class CelebA:
    """CelebA in a folder.

    Parameters
    ----------
    where
        The folder, for messages.
    images, attributes
        Folder of the images, and file of the table of attributes.
    partition
        File of the table of splits; None where it is not there.
    attribute
        Class 1 has it, class 0 does not.
    """

    where: Path
    images: Path
    attributes: Path
    partition: Path | None
    attribute: str

    @property
    def has_splits(self) -> bool:
        """Whether there are images to learn from and others to test on."""
        return self.partition is not None

    def digest(self) -> str:
        """Digest tables and images."""
        tables = [self.attributes, *([self.partition] if self.partition else [])]
        images = sorted(path for path in self.images.iterdir() if _FILE.fullmatch(path.name))
        named = ((file.name, file_digest(file)) for file in (*tables, *images))
        return f"celeba:{self.attribute}:{combined_digest(named)}"

    def load(self, n: int, *, split: str = "test") -> Images:
        """Read the first n images of a split; of all, where the table of splits is not there.

        Raises
        ------
        InputError
            There is no such attribute, a table is damaged, or an image is missing or none.
        """
        names, has = _attributes(self.attributes, self.attribute)
        rows = list(range(len(names)))
        if self.partition is not None:
            splits = _partition(self.partition)
            rows = [row for row in rows if splits.get(names[row]) == _SPLITS[split]]
        if not rows:
            raise InputError(f"{self.where} has no image of the {split} split")
        rows = rows[:n]
        pixels = read_images([self.images / names[row] for row in rows], where=str(self.where), colour=True)
        labels = np.array([has[row] for row in rows])
        return as_images(f"celeba-{self.attribute}", pixels, labels, where=str(self.where))


def find_celeba(folder: Path, attribute: str = ATTRIBUTE) -> CelebA | None:
    """Find images and tables in a folder, or in its `Img/`, `Anno/` and `Eval/` as published; None without them."""
    images = _first(folder, "", "Img", name=_IMAGES)
    attributes = _first(folder, "", "Anno", name=_ATTRIBUTES)
    if images is None or attributes is None or not images.is_dir():
        return None
    return CelebA(folder, images, attributes, _first(folder, "", "Eval", name=_PARTITION), attribute)


def _first(folder: Path, *below: str, name: str) -> Path | None:
    return next((place for part in below if (place := folder / part / name).exists()), None)


def _attributes(path: Path, attribute: str) -> tuple[list[str], list[int]]:
    """Names of the images, and whether each has an attribute."""
    lines = _lines(path)
    known = lines[1].split() if len(lines) > 1 else []
    if attribute not in known:
        raise InputError(f"{path} has no attribute {attribute!r:.60}; it has {', '.join(known):.600}")
    column, names, has = known.index(attribute) + 1, [], []
    for number, line in enumerate(lines[2:], start=3):
        cells = line.split()
        if len(cells) != len(known) + 1 or not _FILE.fullmatch(cells[0]) or cells[column] not in {"1", "-1"}:
            raise InputError(
                f"{path}, line {number}: expected an image's name and {len(known)} times 1 or -1, got {line[:60]!r}"
            )
        names.append(cells[0])
        has.append(int(cells[column] == "1"))
    if lines[0].strip() != str(len(names)):
        raise InputError(f"{path} declares {lines[0].strip()[:20]!r} images and lists {len(names)}: it is cut off")
    return names, has


def _partition(path: Path) -> dict[str, str]:
    """Split of each image: 0 train, 1 validation, 2 test."""
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        cells = line.split()
        if len(cells) != 2 or cells[1] not in {"0", "1", "2"}:
            raise InputError(f"{path}, line {number}: expected an image's name and 0, 1 or 2, got {line[:60]!r}")
        found[cells[0]] = cells[1]
    return found


def _lines(path: Path) -> list[str]:
    try:
        text = read_regular(path, _MAX_TABLE).decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no table of CelebA: it holds other bytes than ASCII") from error
    return text.replace("\r\n", "\n").rstrip("\n").split("\n")
