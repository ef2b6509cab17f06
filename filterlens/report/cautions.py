"""What a reader must know before acting on a run's numbers: networks without normalisation, options that differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from filterlens.errors import DumpError
from filterlens.report.data import RunData
from filterlens.report.formats import Column, Table
from filterlens.score import UNNORMALISED

__all__ = [
    "Settings",
    "bundled_images",
    "cautions_table",
    "mixed_options",
    "read_settings",
    "say_unnormalised",
    "unnormalised",
]

Settings = dict[tuple[str, str], list[str]]
"""Models by lens and by the parameters, as JSON, under which they were extracted."""

_SHOWN = 5
_IMAGES = "content of images"


def read_settings(run: RunData) -> Settings:
    """Collect the parameters of each lens from the headers of dumps and parts."""
    found: Settings = {}
    known = {entry.model_id for entry in run.catalog}
    for (model_id, lens), own in run.parameters_in_parts.items():
        if model_id in known:
            found.setdefault((lens, json.dumps(own, sort_keys=True, ensure_ascii=False)), []).append(model_id)
    for entry in run.catalog:
        try:
            with run.dump(entry.model_id) as dump:
                for lens in dump.held:
                    parameters = json.dumps(dump.kept(lens).parameters, sort_keys=True, ensure_ascii=False)
                    found.setdefault((lens, parameters), []).append(entry.model_id)
        except DumpError:
            continue  # a model without a dump has no settings; its failure is listed
    return found


def unnormalised(scores: pd.DataFrame) -> list[str]:
    """Say of each lens which networks it ran without normalisation.

    Parameters
    ----------
    scores
        The tidy score table (see `filterlens.score`).
    """
    rows = scores[scores["note"].str.contains(UNNORMALISED, regex=False)]
    models: dict[tuple[str, ...], list[str]] = {}
    for lens, part in rows.groupby("lens", sort=False):
        models.setdefault(tuple(dict.fromkeys(part["model_id"])), []).append(str(lens))
    return [f"{say_unnormalised(ids)} ({', '.join(lenses)} lens)" for ids, lenses in models.items()]


def say_unnormalised(names: Iterable[str]) -> str:
    """Say that networks were run without normalisation, and what to do."""
    return (
        f"{_listed(names)}: {UNNORMALISED}, and the network does none itself: give its mean and std, or 0 and 1 where "
        "it was trained on images in [0, 1] as they are"
    )


def mixed_options(run: RunData, settings: Settings) -> dict[str, str]:
    """Say, by lens, under which different options models of one data set were extracted."""
    datasets = {entry.model_id: entry.dataset for entry in run.catalog}
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for (lens, parameters), models in settings.items():
        deciding = json.dumps(_deciding(json.loads(parameters)), sort_keys=True)
        for model in models:
            groups.setdefault((lens, datasets[model]), {}).setdefault(deciding, []).append(model)
    said: dict[str, list[str]] = {}
    for (lens, _), found in groups.items():
        if len(found) > 1:
            said.setdefault(lens, []).append(_differences(found))
    return {lens: f"Different options ({lens} lens): {'; '.join(parts)}." for lens, parts in said.items()}


def bundled_images(settings: Settings) -> list[str]:
    """Say which lenses looked at the images that come with the package."""
    lenses = dict.fromkeys(
        lens for lens, parameters in settings if str(_deciding(json.loads(parameters))[_IMAGES]).startswith("bundled:")
    )
    if not lenses:
        return []
    return [
        f"Numbers are of 512 test images of CIFAR-10 that come with filterlens ({', '.join(lenses)} lens): JPEG "
        "copies, on which accuracies lie a few points lower. For numbers on the data set itself name it with --data"
    ]


def cautions_table(run: RunData, settings: Settings) -> Table:
    """Everything to keep in mind, a row each."""
    texts = [*unnormalised(run.scores), *bundled_images(settings), *mixed_options(run, settings).values()]
    note = "To be read before any number."
    return Table(
        "cautions", "Cautions", note, pd.DataFrame({"caution": texts}, dtype=object), (Column("caution", "caution"),)
    )


def _deciding(parameters: dict[str, Any]) -> dict[str, Any]:
    """Flatten what decides numbers: options and seed; what a file holds in place of its name."""
    options = parameters.get("options")
    content = parameters.get("content")
    content = content if isinstance(content, dict) else {}
    flat = {**(options if isinstance(options, dict) else {}), "seed": parameters.get("seed")}
    flat[_IMAGES] = content.get("data", parameters.get("data"))
    return flat | {name: digest for name, digest in content.items() if name != "data"}


def _differences(found: dict[str, list[str]]) -> str:
    """Name the options that differ, each value with how many models have it."""
    values = {json_text: json.loads(json_text) for json_text in found}
    names = sorted({name for flat in values.values() for name in flat})
    parts = []
    for name in names:
        counts: dict[str, int] = {}
        for text, flat in values.items():
            value = json.dumps(flat.get(name))
            counts[value] = counts.get(value, 0) + len(found[text])
        if len(counts) > 1:
            shown = ", ".join(f"{value.strip(chr(34))[:24]} in {n}" for value, n in counts.items())
            parts.append(f"{name}: {shown}")
    return ", ".join(parts)


def _listed(names: Iterable[str]) -> str:
    every: Sequence[str] = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return f"{', '.join(every[:_SHOWN])}{more}"
