"""`url:`, `hf:` and `torchvision:`: checkpoints from elsewhere, cached like all others."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from filterlens.catalogs.trajectories import SUFFIXES
from filterlens.errors import CheckpointError, DownloadError
from filterlens.loaders.download import read_json, web
from filterlens.loaders.file import classes_of, filled, load_path, named_weights, read_weights
from filterlens.loaders.hub import HubFile
from filterlens.loaders.hub_config import read_config
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.opener import shown_url
from filterlens.loaders.registry import Request
from filterlens.loaders.remote import CacheFile
from filterlens.loaders.timm import WEIGHT_FILES, check_size, create, loaded
from filterlens.loaders.weights import file_digest, load_weights, to_eval
from filterlens.process.cache import cache_folder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["hub_files", "load_hub", "load_torchvision", "load_url", "torchvision_files", "url_files"]

_LONGEST = 200  # bytes of a name; file systems take 255


def load_url(request: Request) -> LoadedModel:
    """Load `url:https://…/model.pt?sha256=…`; the checksum is ours and is not sent.

    Raises
    ------
    DownloadError
        The file cannot be fetched, or is another one.
    CheckpointError
        It is no checkpoint.
    """
    (file,) = url_files(request)
    return load_path(file.fetch(offline=request.offline), request)


def url_files(request: Request) -> list[CacheFile]:
    """Name the file of an address.

    Raises
    ------
    DownloadError
        It is no address that is fetched.
    CheckpointError
        It is no checkpoint by its name.
    """
    try:
        parts = urlsplit(request.rest)
    except ValueError:
        raise DownloadError(f"{shown_url(request.rest)} is no address: give an https: address") from None
    query = parse_qsl(parts.query, keep_blank_values=True)
    sha256 = next((value for key, value in query if key == "sha256"), "")
    if sha256 and (len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef")):
        raise DownloadError(f"{shown_url(request.rest)}: sha256= takes the 64 hexadecimal digits of the file's SHA-256")
    address = urlunsplit(parts._replace(query=urlencode([pair for pair in query if pair[0] != "sha256"])))
    name = PurePosixPath(parts.path).name
    if PurePosixPath(name).suffix.lower() not in SUFFIXES:
        raise CheckpointError(
            f"{shown_url(address)} is no checkpoint by its name: one of {', '.join(SUFFIXES)} was expected"
        )
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise DownloadError(f"{shown_url(address)}: the file's name is longer than a file's name may be")
    # two addresses may end in the same name
    folder = cache_folder() / "url" / hashlib.sha256(f"{address} {sha256}".encode()).hexdigest()[:16]
    origin = web(address, checksum=f"sha256:{sha256}" if sha256 else "")
    return [CacheFile(folder / name, origin)]


def load_hub(request: Request) -> LoadedModel:
    """Load `hf:ORG/NAME[@REVISION]`: a timm repository as a network, any other as weights.

    Raises
    ------
    DownloadError
        The repository, or a file that it must have, cannot be fetched.
    CheckpointError
        Its weights cannot be read.
    """
    repository = request.rest
    weights_file, config_file = hub_files(request)
    path = weights_file.fetch(offline=request.offline)
    described = config_file.fetch_optional(offline=request.offline)
    content = read_json(described, f"config.json of {repository}") if described is not None else None
    if (
        request.weights_only
        or not isinstance(content, dict)
        or not {"architecture", "pretrained_cfg"} <= content.keys()
    ):
        return load_path(path, request)
    config = read_config(content, repository)
    weights, _, notes = read_weights(path)
    check_size(config.architecture, weights, path, **config.options())
    network = create(config.architecture, weights, path, config.overlay(), **config.options())
    return loaded(request, network, config.pretrained_cfg.model_dump(), file_digest(path), notes)


def hub_files(request: Request) -> list[HubFile]:
    """Name the files of a repository: its weights, and its description where it has one."""
    return [HubFile(request.rest, WEIGHT_FILES), HubFile(request.rest, ("config.json",), optional=True)]


def load_torchvision(request: Request) -> LoadedModel:
    """Load `torchvision:NAME[.WEIGHTS]` with torchvision's default or named weights and their normalisation.

    Raises
    ------
    CheckpointError
        torchvision does not know it.
    DownloadError
        Its file is not cached and cannot be fetched.
    """
    from torchvision import models

    name, tag, own = _torchvision_name(request)
    if own is not None:
        weights, _, notes = read_weights(own, trust_pickle=request.trust_pickle)

        def make(classes: int) -> nn.Module:
            network: nn.Module = models.get_model(name, weights=None, num_classes=classes)
            return network

        return filled(request, make(classes_of(weights, own, make)), weights, own, notes)
    chosen = _torchvision_weights(name, tag)
    path = _torchvision_file(chosen.url).fetch(offline=request.offline)
    weights, _, notes = read_weights(path)
    network = models.get_model(name, weights=None)
    load_weights(network, weights, str(path))
    transform = chosen.transforms()
    entry = request.entry
    crop = transform.crop_size[0]
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256=file_digest(path),
        weights=to_eval(network).state_dict(),
        classifier=Classifier(network, entry.mean or tuple(transform.mean), entry.std or tuple(transform.std)),
        input_size=(3, crop, crop),
        notes=notes,
    )


def torchvision_files(request: Request) -> list[CacheFile]:
    """Name the file of the weights; none where they are the user's own.

    Raises
    ------
    CheckpointError
        torchvision does not know the model or the weights.
    """
    name, tag, own = _torchvision_name(request)
    return [] if own is not None else [_torchvision_file(_torchvision_weights(name, tag).url)]


def _torchvision_name(request: Request) -> tuple[str, str, Path | None]:
    """Split a source into the network, the name of its weights, and the user's own file."""
    from torchvision import models

    named, own = named_weights(request)
    name, _, tag = named.partition(".")
    if name not in models.list_models(module=models):  # those of detection and segmentation fetch a part of theirs
        raise CheckpointError(
            f"torchvision has no classifier {name!r}: see torchvision.models.list_models(module=torchvision.models)"
        )
    return name, tag, own


def _torchvision_weights(name: str, tag: str) -> Any:  # noqa: ANN401 - torchvision's own record
    from torchvision import models

    choices = models.get_model_weights(name)
    if tag and tag not in choices.__members__:
        raise CheckpointError(f"torchvision has no weights {tag!r} of {name}; it has {', '.join(choices.__members__)}")
    return choices[tag] if tag else choices.DEFAULT


def _torchvision_file(url: str) -> CacheFile:
    name = url.rpartition("/")[2]
    origin = web(url, checksum=f"sha256:{Path(name).stem.rpartition('-')[2]}")
    return CacheFile(cache_folder() / "torchvision" / name, origin)
