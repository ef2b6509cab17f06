"""`summaries.h5`: what lenses keep of each model for what they say over all models together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterlens.dumps import DumpReader, DumpWriter
from filterlens.errors import DumpError
from filterlens.runs.scoring import Summaries

__all__ = ["read_summaries", "write_summaries"]


def write_summaries(path: Path, found: Mapping[str, Summaries], stamps: Mapping[str, str]) -> None:
    """Write what lenses keep of each model, with the state of its dump.

    Raises
    ------
    DumpError
        The file cannot be written.
    """
    lenses = list(dict.fromkeys(lens for summaries in found.values() for lens in summaries))
    with DumpWriter(path, {"model_id": path.parent.name, "source": "summaries"}, keep=False) as out:
        for lens in lenses:
            group = out.lens(lens, {})
            for model_id, summaries in found.items():
                for name, array in summaries.get(lens, {}).items():
                    stamp = stamps.get(model_id, "")
                    group.write(f"{model_id} {name}", array, model_id=model_id, summary=name, stamp=stamp)


def read_summaries(path: Path, stamps: Mapping[str, str]) -> dict[str, Summaries]:
    """Read what was kept of the models whose dumps have not changed; nothing where the file is missing or damaged."""
    found: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {}
    try:
        with DumpReader(path) as reader:
            for lens in reader.lenses:
                group = reader.lens(lens)
                for place in group.names():
                    facts = group.attributes_of(place)
                    model_id, name = str(facts.get("model_id")), str(facts.get("summary"))
                    if model_id in stamps and facts.get("stamp") == stamps[model_id]:
                        found.setdefault(model_id, {}).setdefault(lens, {})[name] = group.read(place)
    except DumpError:
        return {}  # half of a model's would be worse than nothing
    return dict(found)
