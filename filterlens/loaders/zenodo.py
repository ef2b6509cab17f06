"""`zenodo:RECORD/DATASET/NAME`: the matched normal models of [Gavrikov2022Lens]_, in RobustBench's architectures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from torch import Tensor, nn

from filterlens.errors import CheckpointError, DownloadError
from filterlens.loaders.download import Origin, fetch_json, web
from filterlens.loaders.file import read_weights
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.registry import Request
from filterlens.loaders.remote import CacheFile
from filterlens.loaders.robustbench import untrained, zoo
from filterlens.loaders.transfer import MAX_BYTES
from filterlens.loaders.weights import file_digest, load_weights, to_eval
from filterlens.process.cache import cache_folder

__all__ = ["files", "load"]

RECORD = "https://zenodo.org/api/records/{}"
_REST = re.compile(r"([0-9]+)/([A-Za-z0-9]+)/([A-Za-z0-9_.-]+)")


def load(request: Request) -> LoadedModel:
    """Load a normal model; see `filterlens.loaders.load_model`.

    Raises
    ------
    CheckpointError
        Its file cannot be read.
    DownloadError
        Its file is not cached and cannot be fetched.
    """
    _, dataset, name = _split(request.rest)
    (file,) = files(request)
    path = file.fetch(offline=request.offline)
    weights, _, notes = read_weights(path)
    network = None
    if not request.weights_only:
        network, refusal = _network(dataset, name, weights, path)
        notes = (*notes, *refusal)
    entry = request.entry
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256=file_digest(path),
        weights=weights if network is None else to_eval(network).state_dict(),
        classifier=None if network is None else Classifier(network, entry.mean, entry.std),
        notes=notes,
    )


def files(request: Request) -> list[CacheFile]:
    """Name the file of a model; where it is not in the cache, its record is asked for size and checksum.

    Raises
    ------
    CheckpointError
        The source names none.
    DownloadError
        The record does not answer, or has no such file.
    """
    record, dataset, name = _split(request.rest)
    file = f"{dataset}_normal_robustbench_{name}.tar"
    target = cache_folder() / "zenodo" / record / file
    here = CacheFile(target, Origin(f"https://zenodo.org/records/{record}", lambda _: None))
    return [here if request.offline or here.cached() else CacheFile(target, _origin(record, file))]


def _origin(record: str, file: str) -> Origin:
    for found in _listed(record):
        if isinstance(found, dict) and found.get("key") == file:
            size, checksum = found.get("size"), found.get("checksum")
            if not (isinstance(size, int) and 0 < size <= MAX_BYTES and isinstance(checksum, str) and checksum):
                raise DownloadError(f"https://zenodo.org/records/{record} gives {file} no size and checksum: try again")
            return web(f"https://zenodo.org/records/{record}/files/{file}?download=1", checksum=checksum, size=size)
    raise DownloadError(f"https://zenodo.org/records/{record} has no file {file}: check the record and the name")


@lru_cache(maxsize=16)
def _listed(record: str) -> tuple[object, ...]:
    """Return what a record lists; asked once a process, since one record holds the files of many models."""
    answer = fetch_json(RECORD.format(record))
    listed = answer.get("files") if isinstance(answer, dict) else None
    return tuple(listed) if isinstance(listed, list) else ()


def _split(rest: str) -> tuple[str, str, str]:
    found = _REST.fullmatch(rest)
    if found is None:
        raise CheckpointError(f"zenodo:{rest} was expected to read zenodo:RECORD/DATASET/NAME")
    record, dataset, name = found.groups()
    return record, dataset, name


def _network(
    dataset: str, name: str, weights: Mapping[str, Tensor], path: Path
) -> tuple[nn.Module | None, tuple[str, ...]]:
    """Build RobustBench's architecture of that name that the weights belong to, or say why there is none."""
    refusals: list[str] = []
    for (its_dataset, threat), models in zoo().items():
        if its_dataset != dataset or name not in models:
            continue
        made = untrained(dataset, threat, name)
        if made is None:
            continue
        # an ensemble's normal partner is one of its members
        members = getattr(made, "models", None)
        for network in (made, *(members[:1] if isinstance(members, nn.ModuleList) else ())):
            try:
                load_weights(network, weights, str(path), optional=("mu", "sigma", "mean", "std"))
            except CheckpointError as error:
                refusals.append(str(error))
            else:
                return network, ()
    return None, ("weights only: " + (refusals[0] if refusals else f"RobustBench has no {dataset} model {name}"),)
