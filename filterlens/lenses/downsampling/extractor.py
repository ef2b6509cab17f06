"""The downsampling lens's extractor: dense maps of every downsampling operation on a few images."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import numpy as np
import torch

from filterlens.dumps import FloatStream, WritableGroup
from filterlens.errors import InputError, LensSkipped
from filterlens.lens import ExtractContext
from filterlens.lenses.downsampling.options import DownsamplingOptions
from filterlens.tracing.capture import Downsampling, capture_downsampling

__all__ = ["choose_channels", "extract"]

_BATCH_SAMPLES = 1 << 21  # of the input at once: 13 images of 224 x 224, so that dense maps stay in memory


def extract(context: ExtractContext[DownsamplingOptions]) -> None:
    """Stream the dense maps of every downsampling operation to a dump.

    Parameters
    ----------
    context
        The model must run; `channels` of each layer are kept, chosen by the seed. The group is filled with one array
        an operation, float16 or float32, shape (images, channels, s_h H, s_w W), in execution order, with the
        attributes `operation`, `kind`, `kernel`, `stride`, `groups`, `channels` and `n_channels`.

    Raises
    ------
    InputError
        There are no images, or an operation cannot be captured.
    LensSkipped
        There are only weights, or the model downsamples nowhere.
    """
    entry, images, settings, group = context.entry, context.images, context.settings, context.group
    classifier = context.model.require_classifier("downsampling")
    if images is None or len(images) == 0:
        raise InputError(f"the downsampling lens needs images for {entry.model_id}: name a data set with --data")
    total = len(images)
    store = _Store(group, total)

    def choose(layer: str, n_channels: int) -> list[int]:
        return choose_channels(layer, n_channels, keep=context.options.channels, seed=settings.seed)

    classifier = classifier.to(settings.device).eval()
    for start, stop in _batches(images.pixels.shape, settings.batch_size):
        batch = torch.from_numpy(images.pixels[start:stop]).to(settings.device)
        store.rows = slice(start, stop)
        with torch.no_grad(), capture_downsampling(classifier.network, store.receive, choose=choose):
            classifier(batch)
        context.progress(stop, total)
    store.check()
    if not store.layers:
        raise LensSkipped(f"{entry.model_id} downsamples nowhere: no strided convolution or pooling was run")
    group.set_attributes(images=total, data=images.name, data_sha256=images.digest)


def choose_channels(layer: str, n_channels: int, *, keep: int | None, seed: int) -> list[int]:
    """Choose which channels of a layer are kept: the same for every model that has a layer of that name and width.

    Parameters
    ----------
    layer
        Its name.
    n_channels
        Of its output.
    keep
        How many; None keeps all.
    seed
        Of the choice.

    Examples
    --------
    >>> choose_channels("conv1", 3, keep=64, seed=0)
    [0, 1, 2]
    >>> len(choose_channels("conv1", 256, keep=64, seed=0))
    64
    """
    if keep is None or keep >= n_channels:
        return list(range(n_channels))
    generator = np.random.default_rng([seed, crc32(layer.encode())])
    return sorted(generator.choice(n_channels, keep, replace=False).tolist())


class _Store:
    """Writes captured maps row by row; memory does not grow with the number of images."""

    def __init__(self, group: WritableGroup, n_images: int) -> None:
        self._group, self._n_images = group, n_images
        self.layers: dict[str, FloatStream] = {}
        self.rows = slice(0, 0)

    def receive(self, found: Downsampling) -> None:
        maps = found.dense.float().cpu().numpy()
        n_rows = self.rows.stop - self.rows.start
        if len(maps) != n_rows:
            raise InputError(
                f"{found.layer} makes {len(maps)} maps of {n_rows} images: images cannot be told apart there, so that "
                "the downsampling lens does not fit this model"
            )
        if found.layer not in self.layers:
            self.layers[found.layer] = self._stream(found)
        stream = self.layers[found.layer]
        if stream.shape[1:] != maps.shape[1:]:
            raise InputError(f"{found.layer} makes maps of shape {maps.shape[1:]} after {stream.shape[1:]}")
        stream.write(self.rows, maps)

    def check(self) -> None:
        """Refuse a dump in which a layer lacks images.

        Raises
        ------
        InputError
            A layer ran for some images only.
        """
        for layer, stream in self.layers.items():
            if stream.written != self._n_images:
                raise InputError(
                    f"{layer} ran for {stream.written} of {self._n_images} images only; the downsampling lens needs it "
                    "for all"
                )

    def _stream(self, found: Downsampling) -> FloatStream:
        return FloatStream(
            self._group,
            found.layer,
            (self._n_images, *found.dense.shape[1:]),
            operation=found.operation,
            kind=found.kind,
            kernel=np.array(found.kernel),
            stride=np.array(found.stride),
            groups=found.groups,
            channels=np.array(found.channels),
            n_channels=found.n_channels,
        )


def _batches(shape: tuple[int, ...], most: int) -> Iterator[tuple[int, int]]:
    size = max(1, min(most, _BATCH_SAMPLES // int(np.prod(shape[1:]))))
    for start in range(0, shape[0], size):
        yield start, min(start + size, shape[0])
