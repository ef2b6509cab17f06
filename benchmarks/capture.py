"""What the downsampling lens costs: capture and scores beside a plain forward pass and beside the dense maps alone.

    python benchmarks/capture.py [--repeats 5] [--threads 1] [--device cpu] [--pgd]

Prints one Markdown row a network: seconds (the quickest of the repeats) and ratios. On a CPU they are seconds of
processor time, so that a busy machine does not blur them. "Dense alone" is the forward pass plus the same operations
at stride 1, nothing checked and nothing scored.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from filterlens.lenses.downsampling.extractor import choose_channels
from filterlens.tracing.aten import Call, read_call
from filterlens.training import Monitor


class Recorder(TorchDispatchMode):
    """Keeps every downsampling call of a forward pass, so that its dense map alone can be timed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Call, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        call = read_call(func, args, kwargs or {}, output)
        if call is not None:
            self.calls.append((call, (output[0] if isinstance(output, tuple) else output).shape[1]))
        return output


def quickest(functions: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Least seconds of each function, taken in turns so that a noisy moment hits all of them."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = clock()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[name] = min(best[name], clock() - start)
    return best


def pgd(model: nn.Module, images: Tensor, labels: Tensor, steps: int = 20) -> Tensor:
    """Plain PGD-20, as a training loop would run to watch robust accuracy."""
    x = images + torch.empty_like(images).uniform_(-8 / 255, 8 / 255)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels), x)
        x = (images + (x.detach() + 0.007 * gradient.sign() - images).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
    return x


def time_capture(name: str, model: nn.Module, images: Tensor, args: argparse.Namespace) -> str:
    device = torch.device(args.device)
    model, images = model.to(device).eval(), images.to(device)
    labels = torch.zeros(len(images), dtype=torch.long, device=device)
    with torch.no_grad(), Recorder() as recorder:
        model(images)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def dense(keep: int | None) -> None:
        forward()
        with torch.no_grad():
            for call, n_channels in recorder.calls:
                call.dense(tuple(choose_channels(call.operation, n_channels, keep=keep, seed=0)))

    functions: dict[str, Callable[[], object]] = {
        "forward": forward,
        "dense": partial(dense, None),
        "monitor": Monitor(model, images, lens="downsampling"),
    }
    if args.pgd:
        functions["pgd"] = partial(pgd, model, images, labels)
    seconds = quickest(functions, args.repeats, device)
    cells = [name, str(len(images)), str(len(recorder.calls))]
    cells += [f"{seconds[key]:.3f}" for key in functions]
    cells += [f"{seconds['monitor'] / seconds['forward']:.2f}", f"{seconds['monitor'] / seconds['dense']:.2f}"]
    if args.pgd:
        cells.append(f"{seconds['pgd'] / seconds['monitor']:.0f}")
    return f"| {' | '.join(cells)} |"


def cifar_resnet18() -> nn.Module:
    """ResNet-18 as on CIFAR: no stride and no pooling in the stem."""
    network: nn.Module = torchvision.models.resnet18(num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pgd", action="store_true", help="time PGD-20 on the same images too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    head = ["network", "images", "operations", "forward", "dense alone", "capture + scores"]
    head += ["PGD-20"] * args.pgd + ["/ forward", "/ dense alone"] + ["PGD-20 / capture"] * args.pgd
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    print(time_capture("CIFAR ResNet-18, 32 x 32", cifar_resnet18(), torch.rand(32, 3, 32, 32), args), flush=True)
    print(
        time_capture("ResNet-18, 224 x 224", torchvision.models.resnet18(), torch.rand(4, 3, 224, 224), args),
        flush=True,
    )
    print(
        time_capture("ResNet-50, 224 x 224", torchvision.models.resnet50(), torch.rand(4, 3, 224, 224), args),
        flush=True,
    )


if __name__ == "__main__":
    main()
