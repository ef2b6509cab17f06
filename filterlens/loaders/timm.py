"""`timm:NAME`: networks of timm, with the normalisation that their weights were trained with."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from filterlens.errors import CheckpointError, FilterlensError
from filterlens.loaders.download import web
from filterlens.loaders.file import classes_of, filled, named_weights, read_weights
from filterlens.loaders.hub import HubFile
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.registry import Request
from filterlens.loaders.remote import CacheFile, RemoteFile
from filterlens.loaders.weights import assign_weights, check_weights, file_digest, to_eval
from filterlens.process.cache import cache_folder

__all__ = ["check_size", "create", "files", "load", "loaded"]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_SPARE: Final = 1 << 24  # values: what a network keeps beside its weights


class _Single(Tensor):
    """A weight that is not copied with the configuration in which timm is given it; timm copies that twice."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # what is computed from it is a plain tensor

    def __deepcopy__(self, memo: object) -> Self:
        return self


def load(request: Request) -> LoadedModel:
    """Load a timm model; see `filterlens.loaders.load_model`.

    Raises
    ------
    CheckpointError
        timm does not know it, or has no weights for it.
    DownloadError
        Its file is not cached and cannot be fetched.
    """
    name, own = named_weights(request)
    architecture = _architecture(name)
    if own is not None:
        return _own(request, architecture, own)
    cfg = _weights_of(name, architecture)
    path = _file(cfg).fetch(offline=request.offline)
    weights, _, notes = read_weights(path)
    return loaded(request, create(name, weights, path), cfg.to_dict(), file_digest(path), notes)


def files(request: Request) -> Sequence[RemoteFile]:
    """Name the file of the weights; none where they are the user's own.

    Raises
    ------
    CheckpointError
        timm does not know the model, or has no weights for it.
    """
    name, own = named_weights(request)
    return [] if own is not None else [_file(_weights_of(name, _architecture(name)))]


def _architecture(name: str) -> str:
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), 3)
        raise CheckpointError(f"timm has no model {architecture!r}; near it are {', '.join(near) or 'none'}")
    return architecture


def _file(cfg: Any) -> CacheFile | HubFile:  # noqa: ANN401 - timm's own record
    if cfg.hf_hub_id:
        return HubFile(cfg.hf_hub_id, (cfg.hf_hub_filename,) if cfg.hf_hub_filename else WEIGHT_FILES)
    return CacheFile(cache_folder() / "timm" / cfg.url.rpartition("/")[2], web(cfg.url))


def _weights_of(name: str, architecture: str) -> Any:  # noqa: ANN401 - timm's own record
    """Return timm's record of pretrained weights."""
    import timm

    try:
        cfg = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # the tag is none
        cfg = None
    if cfg is None or not (cfg.url or cfg.hf_hub_id):
        tags = timm.list_pretrained(f"{architecture}*")[:5]
        raise CheckpointError(f"timm has no weights {name!r}; it has {', '.join(tags) or 'none of that architecture'}")
    return cfg


def _own(request: Request, architecture: str, path: Path) -> LoadedModel:
    """Fill timm's architecture with the user's own weights, whose normalisation only the catalog knows."""
    import timm

    weights, _, notes = read_weights(path, trust_pickle=request.trust_pickle)

    def make(classes: int) -> nn.Module:
        network: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=classes)
        return network

    return filled(request, make(classes_of(weights, path, make)), weights, path, notes)


def loaded(
    request: Request, network: nn.Module, cfg: Mapping[str, Any], sha256: str, notes: tuple[str, ...]
) -> LoadedModel:
    """Wrap a timm network; the catalog's normalisation comes first, then the weights' own."""
    entry = request.entry
    mean = entry.mean or tuple(cfg["mean"])
    std = entry.std or tuple(cfg["std"])
    size = tuple(cfg["input_size"])
    weights = to_eval(network).state_dict()
    check_weights(weights, entry.source)
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256=sha256,
        weights=weights,
        classifier=Classifier(network, mean, std),
        input_size=(size[0], size[1], size[2]),
        notes=notes,
    )


class _Unfilled(TorchFunctionMode):
    """Gives new parameters a shape and no memory; what a constructor computes from ranges is computed."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        made = func in {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
        return func(*args, **{**(kwargs or {}), **({"device": "meta"} if made else {})})


def check_size(name: str, weights: Mapping[str, Tensor], path: Path, **options: object) -> None:
    """Refuse a network that timm does not know, or much larger than the file that is to fill it, before it is built.

    Raises
    ------
    CheckpointError
        A repository's description names a network that its weights cannot be of.
    """
    import timm

    known = timm.is_model(name) and timm.models.model_entrypoint(name).__module__.startswith("timm.")
    if not known:
        raise CheckpointError(f"{path} is described as {name!r}, which is no architecture of timm's")
    with warnings.catch_warnings(), _Unfilled():
        warnings.simplefilter("ignore")
        try:
            outline = timm.create_model(name, pretrained=False, **options)
        except FilterlensError:
            raise
        except Exception as error:  # a library's code on a file's weights
            raise CheckpointError(f"{path}: timm's {name} takes no {options} ({str(error).strip()[:200]})") from error
    needed = sum(value.numel() for value in (*outline.parameters(), *outline.buffers()))
    there = sum(value.numel() for value in weights.values())
    if needed > 2 * there + _SPARE:
        raise CheckpointError(f"{path} holds {there} values and is described as timm's {name}, which has {needed}")


def create(
    name: str, weights: Mapping[str, Tensor], path: Path, described: Mapping[str, object] = {}, **options: object
) -> nn.Module:
    """Build a timm network around weights, in whatever published form timm understands.

    Parameters
    ----------
    name
        As timm registers it.
    weights
        As the file has them.
    path
        Named in errors.
    described
        Fields of timm's record of pretrained weights that these weights have otherwise.
    options
        Options of `timm.create_model`.

    Raises
    ------
    CheckpointError
        They do not fit.
    """
    import timm

    state = {key: value.detach().as_subclass(_Single) for key, value in weights.items()}
    # what timm would else take from its own record of pretrained weights: another source where the state dict is
    # empty, a first layer or a classifier made anew where the sizes of that record differ from these
    overlay: dict[str, object] = {
        "state_dict": state, "source": "", "url": None, "file": None, "hf_hub_id": None, "custom_load": False,
        "first_conv": None, **described,
    }  # fmt: skip
    if "num_classes" in options:
        overlay["num_classes"] = options["num_classes"]
    if not state:
        raise CheckpointError(f"{path} holds no weights")
    with warnings.catch_warnings(), assign_weights():
        warnings.simplefilter("ignore")
        try:
            network: nn.Module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
        except FilterlensError:
            raise
        except Exception as error:  # a library's code on a file's weights
            raise CheckpointError(
                f"{path} does not fit timm's {name} ({str(error).strip()[:300]}): delete it to have it fetched again"
            ) from error
    return network
