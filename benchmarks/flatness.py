"""What the flatness lens costs beyond the passes that its definition needs.

Prints the ratio of the extractor's processor time to the number of passes times the measured time of one. Run as
`python benchmarks/flatness.py [--images N] [--batch N]`; one thread, processor time, so that a busy machine disturbs
it little.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from filterlens.attacks import cross_entropy
from filterlens.attacks.parameters import perturbed_parameters
from filterlens.catalogs import Entry
from filterlens.dumps import DumpWriter
from filterlens.inputs.images import Images
from filterlens.lens import ExtractContext, RunSettings
from filterlens.lenses.flatness.extractor import extract
from filterlens.lenses.flatness.options import FlatnessOptions
from filterlens.loaders.model import Classifier, LoadedModel


def one_pass(classifier: nn.Module, pixels: Tensor, labels: Tensor, *, backward: bool) -> None:
    with torch.set_grad_enabled(backward):
        x = pixels.clone().requires_grad_(backward)
        losses = cross_entropy(classifier(x), labels)
    if backward:
        torch.autograd.backward(losses.sum())


def timed(run: Callable[[], None]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = resnet18(num_classes=10)
    classifier = Classifier(network).eval()
    pixels, labels = torch.rand(arguments.images, 3, 32, 32), torch.randint(0, 10, (arguments.images,))
    images = Images("random", pixels.numpy(), labels.numpy())
    protocol = replace(FlatnessOptions.fast(), images=arguments.images)
    attacks = protocol.reference_restarts + protocol.average + 2 * sum(s != 0 for s in protocol.positions)

    def measure_passes() -> tuple[float, float, float]:
        """Time one pass over all images: forward, with backward to the images, with backward to the weights too."""
        starts = range(0, arguments.images, arguments.batch)
        parts = [(pixels[i : i + arguments.batch], labels[i : i + arguments.batch]) for i in starts]

        def passes(*, backward: bool) -> None:
            for x, y in parts:
                one_pass(classifier, x, y, backward=backward)

        classifier.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        forward = timed(partial(passes, backward=False))
        to_images = timed(partial(passes, backward=True))
        for p in perturbed_parameters(classifier).values():
            p.requires_grad_()
        to_weights = timed(partial(passes, backward=True))
        classifier.zero_grad()
        return forward, to_images, to_weights

    measure_passes()
    before = [measure_passes() for _ in range(8)]
    with tempfile.TemporaryDirectory() as folder, DumpWriter(Path(folder) / "a.h5", {}) as dump:
        model = LoadedModel("resnet18", "random", "", {}, classifier)
        entry = Entry(model_id="resnet18", source="random", eps=8 / 255)
        group = dump.lens("flatness", {})
        context = ExtractContext(
            model=model,
            entry=entry,
            images=images,
            options=protocol,
            settings=RunSettings(batch_size=arguments.batch),
            group=group,
            progress=lambda *_: None,
        )
        total = timed(lambda: extract(context))
    samples = before + [measure_passes() for _ in range(8)]
    forward, to_images, to_weights = (statistics.median(column) for column in zip(*samples, strict=True))
    needed = attacks * (protocol.steps * to_images + forward)
    needed += protocol.worst * (protocol.steps * to_weights + forward)
    print(f"{arguments.images} images of 32 x 32, batches of {arguments.batch}, ResNet-18, one thread")
    print(f"one pass: forward {forward:.3f} s, to the images {to_images:.3f} s, to the weights {to_weights:.3f} s")
    print(f"{protocol.passes} forward passes; needed {needed:.1f} s, took {total:.1f} s")
    print(f"ratio {total / needed:.3f}")


if __name__ == "__main__":
    main()
