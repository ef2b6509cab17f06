"""The networks that coverage is about: timm's with pretrained weights, and RobustBench's; which are the same.

Run: `python benchmarks/coverage_networks.py` writes docs/coverage_networks.csv, one row a name: its family, its million
parameters, and a digest of all that the lenses which need weights only look at. Names with one digest are one network
to them. Networks are made without memory for their weights (`torch.empty` answers on the meta device).
"""

from __future__ import annotations

import csv
import hashlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.models import model_entrypoint
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from filterlens.loaders.robustbench import untrained, zoo

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = ROOT / "docs" / "coverage_networks.csv"
SMALL = ("tiny", "small", "nano", "pico", "atto", "femto", "_s", "18", "26", "b0", "050")
PREFIX = "robustbench:"
PACKAGES = ("robustbench.model_zoo.architectures", "timm.models", "torchvision.models")  # of network classes


@dataclass(frozen=True)
class Network:
    """One name; `digest` is empty where it cannot be built, and `reason` says why."""

    name: str
    family: str
    parameters: str
    digest: str
    reason: str = ""

    @property
    def size(self) -> float:
        """Million parameters."""
        return float(self.parameters or 0)


def timm_names() -> list[tuple[str, str]]:
    """Every architecture of timm's own with pretrained weights and its family, the smallest of each family first."""
    names = sorted({tag.partition(".")[0] for tag in timm.list_models(pretrained=True)})
    modules = {name: model_entrypoint(name).__module__ for name in names}  # RobustBench registers more in timm's list
    families = {name: where.rpartition(".")[2] for name, where in modules.items() if where.startswith("timm.")}
    names = list(families)
    first: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (not any(word in name for word in SMALL), len(name), name)):
        first.setdefault(families[name], name)
    return [(name, families[name]) for name in [*first.values(), *(n for n in names if n not in first.values())]]


def robustbench_names() -> list[str]:
    """Every model of RobustBench, as a source of filterlens names it."""
    return [f"{PREFIX}{dataset}/{threat}/{name}" for (dataset, threat), found in zoo().items() for name in found]


class WithoutWeights(TorchFunctionMode):
    """Layers get weights without memory: `torch.empty` answers on the meta device, whatever else is computed is real.

    `torch.device("meta")` would take along the small arithmetic of constructors (`torch.linspace(…).tolist()`), which
    half of timm's families do.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)


def construct(name: str, *, real: bool = False) -> nn.Module:
    """Build a network by its name, in eval mode, with initialised weights where `real`, else without any."""
    with nullcontext() if real else WithoutWeights():
        if not name.startswith(PREFIX):
            made: nn.Module = timm.create_model(name)
        else:
            dataset, threat, model = name.removeprefix(PREFIX).split("/")
            # None: RobustBench takes torchvision's own
            made = untrained(dataset, threat, model) or torchvision.models.resnet50(weights=None)
    return made.eval()


def fill(network: nn.Module) -> bool:
    """Give random weights to the parameters that have no memory; False where some other tensor has none either.

    All are views of one block of normal numbers, each at its own place: the memory is that of the largest parameter.
    """
    generator = torch.Generator().manual_seed(0)
    empty = [p for p in network.parameters() if p.is_meta]
    spare = 1 << 16
    block = torch.randn(max((p.numel() for p in empty), default=0) + spare, generator=generator).mul_(0.05)
    filled: dict[int, nn.Parameter] = {}  # by identity: layers may share one
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.is_meta:
                continue
            if id(parameter) not in filled:
                start = int(torch.randint(spare, (), generator=generator))
                view = block[start : start + parameter.numel()].view(parameter.shape).to(parameter.dtype)
                filled[id(parameter)] = nn.Parameter(view, requires_grad=False)
            module._parameters[name] = filled[id(parameter)]
    others = (value for module in network.modules() for value in (*module._buffers.values(), *vars(module).values()))
    return not any(isinstance(value, Tensor) and value.is_meta for value in others)


def vary(network: nn.Module) -> nn.Module:
    """Add noise to weights and statistics that are constant: zeros and ones would hide what is wrong."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() > 1 and float(parameter.std()) == 0:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
                module.get_buffer("running_mean").normal_(0.0, 0.1)
                module.get_buffer("running_var").normal_(1.0, 0.1).abs_()
    return network


def digest(network: nn.Module) -> str:
    """Digest of all that the filters, frequency and spectra lenses look at in a network, but the numbers themselves.

    Names, types, shapes and number types of everything that has weights, which of them are one tensor, the geometry of
    convolutions and the order of heads in fused attention weights. Activations, image sizes and what a forward pass
    does with the weights are not in it.
    """
    return hashlib.sha256("\n".join(_facts(network)).encode()).hexdigest()[:16]


def _facts(network: nn.Module) -> Iterator[str]:
    seen: dict[int, int] = {}
    yield type(network).__name__
    for prefix, module in network.named_modules():
        facts: list[object] = [
            (name, tuple(tensor.shape), str(tensor.dtype), seen.setdefault(id(tensor), len(seen)))
            for name, tensor in module._parameters.items()
            if tensor is not None
        ]
        exposed = getattr(module, "weight", None)  # parametrisations, weight norm and masks are applied
        if isinstance(exposed, Tensor) and module._parameters.get("weight") is None:
            facts.append(("weight", tuple(exposed.shape), str(exposed.dtype)))
        if isinstance(module, _ConvNd):
            facts += [module.kernel_size, module.stride, module.groups, module.transposed]
        if getattr(module, "head_first", False) is True:
            facts.append(("head_first", getattr(module, "num_heads", 1)))
        if facts:
            yield f"{prefix} {type(module).__qualname__} {facts}"


def family_of(network: nn.Module) -> str:
    """Name the file that a network's class is from: without wrappers, and of a model's own class that of its base."""
    for module in network.modules():
        for kind in type(module).__mro__:
            package, _, file = kind.__module__.rpartition(".")
            if package in PACKAGES and file != "utils_architectures":
                return file
    return "other"


def describe(name: str, family: str = "") -> Network:
    """Build a network and say what it is, or why it cannot be built."""
    try:
        network = construct(name)
    except Exception:  # noqa: BLE001 - some compute with their weights when they are made
        try:
            network = construct(name, real=True)
        except Exception as error:  # noqa: BLE001 - a constructor of others raises anything
            return Network(name, family, "", "", f"{type(error).__name__}: {error}".splitlines()[0][:200])
    size = sum(p.numel() for p in network.parameters()) / 1e6
    return Network(name, family or f"robustbench {family_of(network)}", f"{size:.1f}", digest(network))


@cache
def networks() -> tuple[Network, ...]:
    """Rows of docs/coverage_networks.csv."""
    with NETWORKS.open(newline="", encoding="utf-8") as file:
        return tuple(Network(**row) for row in csv.DictReader(file))


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with NETWORKS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Network)], lineterminator="\n")
        writer.writeheader()
        for name, family in [*((name, "") for name in robustbench_names()), *timm_names()]:
            found = describe(name, family)
            writer.writerow(asdict(found))
            file.flush()
            if found.reason:
                print(f"{name}: {found.reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
