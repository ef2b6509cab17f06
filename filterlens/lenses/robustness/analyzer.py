"""The robustness lens: from logits to rows of the score table."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.lens import score_rows
from filterlens.lenses.robustness.first_stage import RecordedStage, read_stage
from filterlens.lenses.robustness.metrics import Labels, Logits
from filterlens.lenses.robustness.scores import Outputs

__all__ = ["analyze"]


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score one model's logits.

    Parameters
    ----------
    group
        What `filterlens.lenses.robustness.extractor.extract` wrote.

    Returns
    -------
        Rows of the score table, of the whole model, and of each filter of the first stage (kind `filter`, weight 0).

    Raises
    ------
    DumpError
        Logits and labels do not belong together.
    """
    return list(_rows(group))


def _rows(group: DumpGroup) -> Iterator[dict[str, object]]:
    labels = group.read("labels")
    optional = {
        name: _read(group, name, labels) if name in group else None
        for name in ("logits_autoattack", "logits_attacked_float32", "logits_affine", "logits_rotation")
    }
    stage = read_stage(group)
    outputs = Outputs(
        labels=labels,
        clean=_read(group, "logits_clean", labels),
        attacked=_read(group, "logits_attacked", labels),
        autoattack=optional["logits_autoattack"],
        attacked_float32=optional["logits_attacked_float32"],
        affine=optional["logits_affine"],
        rotation=optional["logits_rotation"],
        first_stage=None if stage is None else stage.change,
    )
    note = _note(group)
    with np.errstate(invalid="ignore"):  # logits that are not finite end as scores that are NaN
        for row in score_rows("robustness", outputs):
            yield {**row, "note": note}
    if stage is not None:
        yield from _filters(stage, f"{stage.operations} on {len(stage.clean)} of the images; {note}")


def _filters(stage: RecordedStage, note: str) -> Iterator[dict[str, object]]:
    """One row a filter of the first stage, which weighs nothing in the model's mean."""
    for i, change in enumerate(stage.change):
        facts = {"layer": f"{stage.layer} filter {i}", "kind": "filter", "weight": 0.0, "note": note}
        yield {"metric": "first_stage_change", "value": float(change), **facts}


def _read(group: DumpGroup, name: str, labels: Labels) -> Logits:
    logits = group.read(name)
    if logits.ndim != 2 or len(logits) != len(labels) or not len(labels):
        raise DumpError(
            f"{group.path}: {name} of shape {logits.shape} does not belong to {len(labels)} labels; extract again"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DumpError(f"{group.path}: labels lie outside the {logits.shape[1]} classes of {name}; extract again")
    return logits


def _note(group: DumpGroup) -> str:
    """Under which attack the numbers stand."""
    found = group.attributes
    parts = [
        f"{found.get('attack', 'attack')}, {found.get('norm', 'norm')} ε = {float(found.get('eps', math.nan)):.5g}",
        f"{found.get('restarts', '?')} restarts",
        f"{found.get('images', '?')} images",
    ]
    if "rotations" in found:
        parts.append(
            f"affine η = {float(found['affine_radius']):g}, rotation ±{float(found['rotation_degrees']):g}° and "
            f"translation ±{float(found['translation_pixels']):.3g} pixels on {found['rotations']} x "
            f"{found['translations']}² places"
        )
    parts += [name for name in ("fast", "bf16") if found.get(name)]
    return ", ".join(parts)
