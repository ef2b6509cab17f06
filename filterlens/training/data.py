"""What a training learns from and is tested on, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from filterlens.errors import InputError
from filterlens.inputs import Images, data_digest, load_split
from filterlens.inputs.cifar import DATASETS
from filterlens.inputs.fonts import load_prototypes
from filterlens.training.augment import Crops
from filterlens.training.inner_attacks import TrainingBatch

__all__ = ["LoadData", "TrainingData", "load_data"]


class TrainingData:
    """Images to learn from, given in shuffled batches.

    Parameters
    ----------
    examples
        All of them.
    classes
        How many there are.
    digest
        Of the files that they come from.
    augment
        Whether batches are crops, see `Crops`.
    """

    def __init__(self, examples: TrainingBatch, *, classes: int, digest: str, augment: bool = False) -> None:
        self.channels, self.classes, self.digest = examples.images.shape[1], classes, digest
        self._crops = Crops(examples.images) if augment else None
        self._examples = replace(examples, images=examples.images[:0].clone()) if augment else examples

        self._rows = torch.arange(len(examples.labels))

    def __len__(self) -> int:
        return len(self._rows)

    def held_out(self, n: int) -> tuple[Self, TrainingBatch]:
        """Return the data without n examples that lie evenly among them, and these, as they are.

        Raises
        ------
        InputError
            There are no more than n.
        """
        if n >= len(self):
            raise InputError(f"{n} of {len(self)} training images cannot be held out: take more, or fewer for the test")
        chosen = torch.linspace(0, len(self) - 1, n).round().long()
        kept = torch.ones(len(self), dtype=torch.bool)
        kept[chosen] = False
        rest, rows = copy(self), self._rows[chosen].to(self._examples.labels.device)
        rest._rows = self._rows[kept]
        images = self._examples.images[rows] if self._crops is None else self._crops.whole(rows)
        return rest, TrainingBatch(images, self._examples.labels[rows])

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[TrainingBatch]:
        """Give the batches of an epoch, each of `size`; what is left over is left out."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed * 7_368_787 + epoch))
        generator = torch.Generator().manual_seed(seed * 5_915_587 + epoch)
        data = self._examples
        for chosen in torch.split(self._rows[order].to(data.labels.device), size):
            if len(chosen) == size:
                images = data.images[chosen] if self._crops is None else self._crops(chosen, generator)
                yield TrainingBatch(
                    images,
                    data.labels[chosen],
                    None if data.latents is None else data.latents[chosen],
                    None if data.conditions is None else data.conditions[chosen],
                    data.prototypes,
                    torch.zeros_like(images, requires_grad=True),
                )


def load_data(
    data: str, n: int, held_out: int, *, seed: int, fonts: Path | None, augment: bool, device: torch.device
) -> tuple[TrainingData, TrainingBatch]:
    """Load images to learn from, and others for the log.

    Parameters
    ----------
    data, n, held_out, seed, fonts
        As `filterlens.inputs.load_split` takes them.
    augment
        Whether batches are crops.
    device
        Where the tensors lie.

    Raises
    ------
    InputError
        Fewer images are there than are wanted, or none are left to test on.
    """
    train, test = load_split(data, n, held_out, seed=seed, fonts=fonts)
    if not len(test):
        raise InputError(
            f"--data {data} leaves no images to test on, as every tenth is held out: {len(train)} were taken, take ten "
            "or more (--images)"
        )
    known = DATASETS.get(data)
    classes = max(int(train.labels.max()), int(test.labels.max())) + 1
    if data == "fonts":
        classes = 10
    elif known is not None:
        classes = known.classes
    prototypes = torch.from_numpy(load_prototypes(fonts).copy()).to(device) if data == "fonts" else None
    learned = TrainingData(
        _tensors(train, prototypes, device), classes=classes, digest=data_digest(data, fonts=fonts), augment=augment
    )
    return learned, _tensors(test, prototypes, device)


LoadData = Callable[..., tuple[TrainingData, TrainingBatch]]  # with the parameters of `load_data`


def _tensors(images: Images, prototypes: Tensor | None, device: torch.device) -> TrainingBatch:
    return TrainingBatch(
        torch.from_numpy(images.pixels).to(device),
        torch.from_numpy(images.labels).to(device),
        None if images.latents is None else torch.from_numpy(images.latents).to(device),
        None if images.conditions is None else torch.from_numpy(images.conditions).to(device),
        prototypes,
    )
