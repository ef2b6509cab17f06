"""Local files: `.pt .pth .th .ckpt .bin .tar .safetensors .onnx`, recognised by content rather than by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from filterlens.catalogs import Entry
from filterlens.catalogs.trajectories import SUFFIXES
from filterlens.errors import CheckpointError, MissingExtraError
from filterlens.loaders import checkpoint
from filterlens.loaders.archive import checkpoint_inside
from filterlens.loaders.digest import locate, read_query
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.registry import Request, split_member
from filterlens.loaders.shards import Shard, open_shard
from filterlens.loaders.state_dict import find_state_dict, part_of, strip_prefixes
from filterlens.loaders.tar import is_tar
from filterlens.loaders.weights import check_weights, file_digest, load_weights, to_eval

__all__ = ["classes_of", "filled", "load", "load_member", "load_path", "named_weights", "read_weights"]

#: How Hugging Face calls the parts of a network in several files, and the list of them.
_PARTS: Final = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.\w+|\.index\.json")


def named_weights(request: Request) -> tuple[str, Path | None]:
    """Split `NAME?weights=PATH` into the name and the file, None where none is named.

    Raises
    ------
    CheckpointError
        There is no such file, or something else than `weights` is given.
    """
    name, _, query = request.rest.partition("?")
    options = read_query(query)
    unknown = sorted(options.keys() - {"weights"})
    if unknown:
        scheme = request.entry.source.partition(":")[0]
        raise CheckpointError(
            f"{request.entry.source!r} gives {unknown[0]!r}: a {scheme}: source knows weights=PATH only"
        )
    return name, locate(options["weights"], request.folder) if "weights" in options else None


def classes_of(weights: Mapping[str, Tensor], path: Path, make: Callable[[int], nn.Module]) -> int:
    """How many classes a state dict's network distinguishes: the size of what that number decides in its architecture.

    Neither names nor order tell: every architecture calls its classifier as it likes, and safetensors sorts names.

    Parameters
    ----------
    weights, path
        A file's content, and where it lies.
    make
        Makes the architecture for so many classes.

    Raises
    ------
    CheckpointError
        The file lacks it.
    """
    two, three = (_shapes(make, classes) for classes in (2, 3))
    part, _ = part_of(weights, [name for name in two if not name.endswith("num_batches_tracked")], str(path))
    sizes = {name: (shape, three[name]) for name, shape in two.items() if name in three and shape != three[name]}
    for name, (shape, other) in sizes.items():
        if name in part and part[name].dim() == len(shape):
            axis = next(i for i, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b)
            return int(part[name].shape[axis])
    raise CheckpointError(
        f"{path} holds no classifier of this architecture ({', '.join(sizes) or 'which has none'}): is it a "
        "classification network, and of this architecture?"
    )


def _shapes(make: Callable[[int], nn.Module], classes: int) -> dict[str, torch.Size]:
    try:
        with torch.device("meta"):
            network = make(classes)
    except RuntimeError:  # a constructor that computes with its weights
        network = make(classes)
    return {name: value.shape for name, value in network.state_dict().items()}


def filled(
    request: Request, network: nn.Module, weights: Mapping[str, Tensor], path: Path, notes: tuple[str, ...]
) -> LoadedModel:
    """Put a file's weights into a network; the normalisation is the catalog's, or the network's own.

    Raises
    ------
    CheckpointError
        They do not fit.
    """
    notes += load_weights(network, weights, str(path))
    entry = request.entry
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256=file_digest(path),
        weights=to_eval(network).state_dict(),
        classifier=Classifier(network, entry.mean, entry.std),
        notes=notes,
    )


def load(request: Request) -> LoadedModel:
    """Load a local file, or one of the models in it; see `filterlens.loaders.load_model`."""
    member = split_member(request.rest)
    if member is None:
        return load_path(locate(request.rest, request.folder), request)
    path = locate(member[0], request.folder)
    file_digest(path)  # for the ledger
    return load_member(open_shard(path), member[1], request.entry)


def load_member(shard: Shard, name: str, entry: Entry) -> LoadedModel:
    """Load one of the models in a file.

    Raises
    ------
    CheckpointError
        The file holds no such model, or its weights are no real numbers.
    """
    weights = strip_prefixes(shard.tensors(name))
    check_weights(weights, f"{shard.path}#{name}")
    return LoadedModel(model_id=entry.model_id, source=entry.source, sha256=shard.digest(name), weights=weights)


def load_path(path: Path, request: Request) -> LoadedModel:
    """Load a file that is here, whatever source led to it.

    Raises
    ------
    CheckpointError
        It cannot be turned into weights.
    """
    if path.suffix.lower() == ".onnx":
        try:
            from filterlens.loaders.onnx import load_onnx
        except ModuleNotFoundError as error:
            raise MissingExtraError(f'{path} is an ONNX file: pip install "filterlens[onnx]" to read it') from error
        return load_onnx(path, request)
    weights, network, notes = read_weights(path, trust_pickle=request.trust_pickle)
    entry = request.entry
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256=file_digest(path),
        weights=weights,
        classifier=None if network is None else Classifier(to_eval(network), entry.mean, entry.std),
        notes=notes,
    )


def read_weights(
    path: Path, *, trust_pickle: bool = False
) -> tuple[Mapping[str, Tensor], nn.Module | None, tuple[str, ...]]:
    """Read the weights of a file without running it.

    Parameters
    ----------
    path
        Any of `SUFFIXES` but `.onnx`.
    trust_pickle
        Let a pickle run code.

    Returns
    -------
        Weights by name without wrappers' prefixes; the network, only where a trusted file holds it whole; notes.

    Raises
    ------
    CheckpointError
        They cannot be read; the message says why.
    """
    if _PARTS.search(path.name):
        raise CheckpointError(
            f"{path} is not the whole network: its weights are in several files; save them in one, such as with "
            "`save_pretrained(FOLDER, max_shard_size='100GB')`"
        )
    if path.suffix.lower() == ".safetensors":
        from filterlens.loaders.safetensors import read_safetensors

        weights = strip_prefixes(read_safetensors(path)[0])
        check_weights(weights, str(path))
        return weights, None, ()
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(f"{path} is no checkpoint by its name: one of {', '.join(SUFFIXES)} was expected")
    if is_tar(path):
        with checkpoint_inside(path) as inner:
            try:
                if is_tar(inner):
                    raise CheckpointError(f"{inner} is an archive in an archive: unpack it and give the file")
                return read_weights(inner, trust_pickle=trust_pickle)
            except CheckpointError as error:
                said = str(error).replace(str(inner), f"the checkpoint in {path}")
                raise type(error)(said) from error
    found = checkpoint.read(path, trust_pickle=trust_pickle)
    raw, inside = find_state_dict(found.content, path)
    weights = strip_prefixes(raw)
    check_weights(weights, str(path))
    network = found.content if isinstance(found.content, nn.Module) else None
    notes = (*found.notes, *((f"weights found under {inside!r}",) if inside else ()))
    if network is not None:
        weights = network.state_dict()
    return weights, network, notes
