"""`bundled:ZOO/NAME`: the networks that come with the package; `bundled:ARCHITECTURE?weights=PATH`: your own ones."""

from __future__ import annotations

from dataclasses import replace

from filterlens.catalogs import Entry, shipped_folder
from filterlens.errors import CheckpointError
from filterlens.loaders.digest import ZOOS
from filterlens.loaders.file import classes_of, filled, named_weights, read_weights
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.loaders.registry import Request
from filterlens.loaders.safetensors import read_safetensors
from filterlens.loaders.weights import file_digest, load_weights, to_eval

__all__ = ["load"]

_AS_THEY_ARE = {"mean": (0.0,), "std": (1.0,)}  # these networks are trained on images in [0, 1]


def load(request: Request) -> LoadedModel:
    """Load a network of a bundled zoo; see `filterlens.loaders.load_model`.

    Raises
    ------
    CheckpointError
        There is none of that name.
    """
    from filterlens.loaders.architectures import ARCHITECTURES, build_as_said

    named, own = named_weights(request)
    if own is not None:
        if named not in ARCHITECTURES:
            raise CheckpointError(f"there is no architecture {named!r}: choose one of {', '.join(ARCHITECTURES)}")
        weights, _, notes = read_weights(own, trust_pickle=request.trust_pickle)
        channels = next((weight.shape[1] for weight in weights.values() if weight.dim() == 4), 1)
        said = dict(read_safetensors(own)[1]) if own.suffix == ".safetensors" else {}
        said = {"in_channels": str(channels)} | said | {"architecture": named}
        classes = said.pop("classes", "") or classes_of(
            weights, own, lambda n: build_as_said(said | {"classes": str(n)})
        )
        network = build_as_said(said | {"classes": str(classes)})
        return filled(replace(request, entry=_trained_on(request.entry)), network, weights, own, notes)
    zoo, _, name = request.rest.partition("/")
    folder, side = ZOOS.get(zoo, ("", 0))
    files = sorted((shipped_folder() / folder).glob("*.safetensors")) if folder else []
    known = {path.stem: path for path in files}
    if name not in known:
        raise CheckpointError(
            f"the package brings no {request.rest!r}: bundled:ZOO/NAME was expected, ZOO one of {', '.join(ZOOS)}, "
            f"NAME one of {', '.join(known) or 'none (the weights are not installed)'}"
        )
    weights, metadata = read_safetensors(known[name])
    if "architecture" not in metadata:
        raise CheckpointError(f"{known[name]} does not say its architecture: install filterlens again")
    network = build_as_said(metadata)
    load_weights(network, weights, str(known[name]))
    entry = _trained_on(request.entry)
    return LoadedModel(
        model_id=entry.model_id,
        source=entry.source,
        sha256=file_digest(known[name]),
        weights=to_eval(network).state_dict(),
        classifier=Classifier(network, entry.mean, entry.std),
        input_size=(int(metadata.get("in_channels", 1)), side, side),
    )


def _trained_on(entry: Entry) -> Entry:
    """Return a row with the normalisation of networks that the package trains, where it says none."""
    return entry if entry.mean is not None else entry.model_copy(update=_AS_THEY_ARE)
