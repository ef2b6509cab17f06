"""What lenses share that attack or classify images: a model on its device, its images in batches, passes counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filterlens.attacks import Ball, Norm, Rule, preserved
from filterlens.catalogs import Entry
from filterlens.errors import InputError, LensSkipped
from filterlens.inputs import check_fits
from filterlens.inputs.images import Images
from filterlens.lens import RunSettings
from filterlens.loaders.model import Classifier, LoadedModel

__all__ = ["EvaluatedBatch", "Running", "Threat", "running", "threat_of"]

_NARROW = 8  # channels
_NORMS: dict[str, Norm] = {"linf": "Linf", "l∞": "Linf", "": "Linf", "l2": "L2"}


@dataclass(frozen=True, slots=True)
class Threat:
    """The perturbations that a model is measured against.

    Parameters
    ----------
    ball
        Norm and radius.
    step
        α: 0.007 at ε = 8/255, as in the paper; ε / 4 for every other ε.
    """

    ball: Ball
    step: float

    @property
    def rule(self) -> Rule:
        """Signs in L∞, normalised gradients in L2."""
        return "sign" if self.ball.norm == "Linf" else "normalised"


def threat_of(entry: Entry, lens: str) -> Threat:
    """Read the threat model from a catalog row; without a name it is L∞.

    Raises
    ------
    LensSkipped
        The row has no eps, or a threat model that is no ball (common corruptions).
    """
    norm = _NORMS.get(entry.threat_model.strip().lower())
    if norm is None:
        raise LensSkipped(
            f"the {lens} lens attacks within Linf and L2 balls, and the catalog gives {entry.model_id} "
            f"the threat model {entry.threat_model!r}"
        )
    if entry.eps is None:
        raise LensSkipped(
            f"the {lens} lens needs the radius of the attack: the catalog gives no eps for {entry.model_id}"
        )
    step = 0.007 if abs(entry.eps - 8 / 255) < 1e-6 else entry.eps / 4
    return Threat(Ball(norm, entry.eps), step)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedBatch:
    """Some of the images, on the model's device.

    Parameters
    ----------
    rows
        Which ones.
    pixels, labels
        Shapes (b, channels, height, width) and (b,).
    """

    rows: slice
    pixels: Tensor
    labels: Tensor


class Running:
    """A model in evaluation mode on its device, called as a function; every call is counted.

    Parameters
    ----------
    classifier
        The model, on its device.
    images
        What it is measured on.
    settings
        `device`, `batch_size`.
    bf16
        Forward passes in bfloat16.
    progress
        Called with forward passes of a batch done and in all.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        settings: RunSettings,
        *,
        bf16: bool,
        progress: Callable[[int, int], None],
    ) -> None:
        self.classifier, self.images = classifier, images
        self.device = torch.device(settings.device)
        self.bf16 = bf16
        self.layout = _layout_of(classifier)
        self.passes = 0
        self._expected = 0
        self._settings = settings
        self._progress = progress

    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits, shape (b, classes)."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.classifier(pixels)
        self.passes += 1
        if self._expected:
            self._progress(min(self.passes, self._expected), self._expected)
        return logits

    def classes(self, pixels: Tensor) -> NDArray[np.int32]:
        """Predicted classes, shape (b,); −1 where logits are not finite."""
        with torch.no_grad():
            logits = self(pixels)
        classes = logits.argmax(dim=1)
        classes[~logits.isfinite().all(dim=1)] = -1
        return np.asarray(classes.cpu().numpy(), dtype=np.int32)

    def on(self, images: Images) -> Running:
        """Return the same model on other images; its calls are counted apart, and not reported as progress."""
        other = Running(self.classifier, images, self._settings, bf16=self.bf16, progress=lambda *_: None)
        other.layout = self.layout
        return other

    @property
    def n_batches(self) -> int:
        """How many batches the images make."""
        return -(-len(self.images) // self._settings.batch_size)

    def expect(self, passes: int) -> None:
        """Say how many forward passes over all images are to come, so that progress has an end."""
        self._expected = self.passes + passes * self.n_batches

    def batches(self) -> Iterator[EvaluatedBatch]:
        """All images in order."""
        for start in range(0, len(self.images), self._settings.batch_size):
            rows = slice(start, min(start + self._settings.batch_size, len(self.images)))
            pixels = torch.from_numpy(self.images.pixels[rows]).to(self.device).contiguous(memory_format=self.layout)
            yield EvaluatedBatch(rows, pixels, torch.from_numpy(self.images.labels[rows]).to(self.device))


def _layout_of(network: nn.Module) -> torch.memory_format:
    """Return the layout that most convolutions are faster in, on processors and GPUs, where it is safe."""
    narrow = any(isinstance(layer, nn.Conv2d) and _is_narrow_shortcut(layer) for layer in network.modules())
    return torch.contiguous_format if narrow else torch.channels_last


def _is_narrow_shortcut(layer: nn.Conv2d) -> bool:
    # on AVX2 oneDNN writes past its memory: weights' gradient, channels last, strided 1x1, fewer than 8 channels
    channels = min(layer.in_channels, layer.out_channels) // layer.groups
    return layer.kernel_size == (1, 1) and max(layer.stride) > 1 and channels < _NARROW


@contextmanager
def running(
    model: LoadedModel,
    images: Images | None,
    settings: RunSettings,
    *,
    lens: str,
    bf16: bool,
    progress: Callable[[int, int], None],
) -> Iterator[Running]:
    """Bring a model to its device, check that the images suit it, and leave its state as it was.

    Parameters
    ----------
    model
        Must run.
    images
        What it is measured on.
    settings
        As in `Running`.
    lens
        Who asks, for messages.
    bf16, progress
        As in `Running`.

    Raises
    ------
    LensSkipped
        There are only weights.
    InputError
        There are no images, they are of another size or have labels that the model does not know, or its logits are
        not finite.
    """
    classifier = model.require_classifier(lens)
    if images is None or len(images) == 0:
        raise InputError(f"the {lens} lens needs labelled images for {model.model_id}: name a data set with --data")
    check_fits(images, model.input_size)
    classifier.to(settings.device)
    runner = Running(classifier, images, settings, bf16=bf16, progress=progress)
    with preserved(classifier), _laid_out(runner):
        _check_logits(model, runner)
        yield runner


@contextmanager
def _laid_out(runner: Running) -> Iterator[None]:
    """Bring weights to the layout that images come in, and back to their own when the block ends."""
    kernels = [p for p in runner.classifier.parameters() if p.dim() == 4]
    own = [torch.contiguous_format if p.is_contiguous() else torch.channels_last for p in kernels]
    try:
        runner.classifier.to(memory_format=runner.layout)
        yield
    finally:
        for p, layout in zip(kernels, own, strict=True):
            p.data = p.data.contiguous(memory_format=layout)


def _first_logits(runner: Running) -> Tensor:
    """Logits of two images; where the network's code (a `view` of a feature map) takes no other, in ordinary layout."""
    with torch.no_grad():
        try:
            return runner(next(runner.batches()).pixels[:2])
        except RuntimeError:
            runner.layout = torch.contiguous_format
            runner.classifier.to(memory_format=runner.layout)
            return runner(next(runner.batches()).pixels[:2])


def _check_logits(model: LoadedModel, runner: Running) -> None:
    """Run two images: what does not fit shows itself here, before minutes of work."""
    try:
        logits = _first_logits(runner)
    except RuntimeError as error:
        size = " x ".join(map(str, runner.images.pixels.shape[1:]))
        raise InputError(
            f"{model.model_id} cannot take {runner.images.name}'s images of {size} ({str(error).splitlines()[0]}): "
            "name other images with --data"
        ) from error
    highest = int(runner.images.labels.max())
    if logits.ndim != 2 or int(runner.images.labels.min()) < 0 or highest >= logits.shape[1]:
        raise InputError(
            f"{model.model_id} gives logits of shape {tuple(logits.shape)}, {runner.images.name} has labels up to "
            f"{highest}: name the images that it was trained for with --data"
        )
    if not bool(logits.isfinite().all()):
        raise InputError(f"{model.model_id} gives logits that are not finite: its weights or normalisation are broken")
