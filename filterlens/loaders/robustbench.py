"""`robustbench:DATASET/THREAT/NAME`: RobustBench's own networks, loaded by its own function from files we fetched."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from filterlens.errors import CheckpointError, FilterlensError
from filterlens.loaders import checkpoint
from filterlens.loaders.download import web
from filterlens.loaders.drive import drive
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.registry import Request
from filterlens.loaders.remote import CacheFile
from filterlens.loaders.robustbench_compat import made_without_cuda, robustbench, safe_torch_load
from filterlens.loaders.state_dict import find_state_dict, strip_prefixes
from filterlens.loaders.weights import assign_weights, check_weights, file_digest, to_eval
from filterlens.process.cache import cache_folder

__all__ = ["files", "load", "untrained", "zoo"]

_CLASSES: Final = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}


def zoo() -> dict[tuple[str, str], Mapping[str, Mapping[str, Any]]]:
    """Return RobustBench's models by (dataset, threat model) and name, with their constructors and files."""
    robustbench()
    models = importlib.import_module("robustbench.model_zoo").model_dicts
    return {
        (dataset.value, threat.value): found for dataset, threats in models.items() for threat, found in threats.items()
    }


def load(request: Request) -> LoadedModel:
    """Load a RobustBench model; see `filterlens.loaders.load_model`.

    Raises
    ------
    CheckpointError
        RobustBench does not know it, or its file does not fit.
    DownloadError
        Its file is not cached and cannot be fetched.
    """
    dataset, threat, name = _split(request.rest)
    paths, notes, network = _network(dataset, threat, name, offline=request.offline)
    weights = to_eval(network).state_dict()
    check_weights(weights, request.entry.source)
    return LoadedModel(
        model_id=request.entry.model_id,
        source=request.entry.source,
        sha256=_digest(paths),
        weights=weights,
        classifier=Classifier(network, request.entry.mean, request.entry.std),
        notes=tuple(notes),
    )


def _split(rest: str) -> tuple[str, str, str]:
    parts = rest.split("/")
    if len(parts) != 3:
        raise CheckpointError(f"robustbench:{rest} was expected to read robustbench:DATASET/THREAT/NAME")
    known = zoo()
    found = {(dataset.lower(), threat.lower()): (dataset, threat) for dataset, threat in known}
    key = found.get((parts[0].lower(), parts[1].lower()))
    if key is None:
        raise CheckpointError(
            f"RobustBench has no {parts[0]}/{parts[1]}; there are {', '.join('/'.join(pair) for pair in known)}"
        )
    if parts[2] not in known[key]:
        raise CheckpointError(
            f"RobustBench {key[0]}/{key[1]} has no {parts[2]!r}; the installed version knows "
            f"{', '.join(sorted(known[key])[:8])}, …"
        )
    return (*key, parts[2])


def _digest(paths: list[Path]) -> str:
    """One digest of one file; of several, the digest of their digests."""
    digests = [file_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def files(request: Request) -> list[CacheFile]:
    """Name the files of a model: one, or one for each member of an ensemble.

    Raises
    ------
    CheckpointError
        RobustBench does not know the model, or where it is to be fetched.
    """
    return _files(*_split(request.rest))


def _files(dataset: str, threat: str, name: str) -> list[CacheFile]:
    drives = zoo()[dataset, threat][name]["gdrive_id"]
    target = cache_folder() / dataset / threat / f"{name}.pt"
    if timm_name := _timm_name(dataset, threat, name):
        return [CacheFile(target, web(_timm_cfg(timm_name)["url"]))]
    if dataset == "imagenet" and "Standard" in name:
        return [_torchvision_file()]
    if isinstance(drives, list):
        # robustbench's own names of an ensemble's parts
        parts = [target.with_name(f"{target.name}_m{part}.pt") for part in range(len(drives))]
        return [CacheFile(part, drive(identifier)) for part, identifier in zip(parts, drives, strict=True)]
    if not drives:
        raise CheckpointError(f"RobustBench says nowhere where {name} is to be fetched: leave the row out")
    return [CacheFile(target, drive(drives))]


def _network(dataset: str, threat: str, name: str, *, offline: bool) -> tuple[list[Path], list[str], nn.Module]:
    paths = [file.fetch(offline=offline) for file in _files(dataset, threat, name)]
    if timm_name := _timm_name(dataset, threat, name):
        return _through_timm(timm_name, dataset, paths[0])
    load_model = importlib.import_module("robustbench.utils").load_model
    with safe_torch_load() as notes, made_without_cuda(), assign_weights():
        try:
            network = load_model(name, model_dir=cache_folder(), dataset=dataset, threat_model=threat)
        except FilterlensError:
            raise
        except Exception as error:  # a library's code on a file's weights
            raise CheckpointError(
                f"{paths[0]} does not fit RobustBench's {name} ({str(error).strip()[:300]}): delete it to have it "
                "fetched again"
            ) from error
    return paths, notes, network


def _timm_name(dataset: str, threat: str, name: str) -> str:
    """Name what robustbench registers with timm, or nothing."""
    import timm

    candidate = f"{name.lower().replace('-', '_')}_{dataset.lower()}_{threat.lower()}"
    return candidate if timm.is_model(candidate) else ""


def _through_timm(name: str, dataset: str, path: Path) -> tuple[list[Path], list[str], nn.Module]:
    """Do as robustbench does for its timm models, the file fetched and read by us."""
    from filterlens.loaders.timm import create

    found = checkpoint.read(path)
    weights, _ = find_state_dict(found.content, path)
    made = create(name, strip_prefixes(weights), path, num_classes=_CLASSES[dataset])
    return [path], list(found.notes), made


def untrained(dataset: str, threat: str, name: str) -> nn.Module | None:
    """Make a model's network without weights; None where only its constructor makes it, which would fetch some."""
    import timm

    constructor = zoo()[dataset, threat][name]["model"]  # robustbench's import adds its own to timm
    if timm_name := _timm_name(dataset, threat, name):
        network: nn.Module = timm.create_model(timm_name, pretrained=False, num_classes=_CLASSES[dataset])
        return network
    if dataset == "imagenet" and "Standard" in name:
        return None
    with made_without_cuda():
        made: nn.Module = constructor()
    return made


def _timm_cfg(name: str) -> Mapping[str, Any]:
    import timm

    module = sys.modules[timm.models.model_entrypoint(name).__module__]
    cfg: Mapping[str, Any] = module.default_cfgs[name]
    return cfg


def _torchvision_file() -> CacheFile:
    """Name torchvision's ResNet-50 where its constructor looks for it, which robustbench calls."""
    import torch
    from torchvision.models import ResNet50_Weights

    url = ResNet50_Weights.IMAGENET1K_V1.url
    name = url.rpartition("/")[2]
    return CacheFile(
        Path(torch.hub.get_dir()) / "checkpoints" / name,
        web(url, checksum=f"sha256:{Path(name).stem.rpartition('-')[2]}"),
    )
