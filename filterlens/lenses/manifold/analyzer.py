"""The manifold lens: from a dump to rows of the score table [Stutz2019]_."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from filterlens.dumps import DumpGroup
from filterlens.errors import DumpError
from filterlens.lens import score_rows
from filterlens.lenses.manifold.scores import KINDS, MOVED, Flags, ModelAttacks, Values

__all__ = ["analyze"]


def analyze(group: DumpGroup) -> list[dict[str, object]]:
    """Score one model's dump.

    Parameters
    ----------
    group
        The dump's `/manifold`; without a decoder it holds nothing `on_manifold`.

    Returns
    -------
        Rows of the score table, of the whole model each.

    Raises
    ------
    DumpError
        Arrays are missing or do not fit.
    """
    return list(_rows(group))


def _rows(group: DumpGroup) -> Iterator[dict[str, object]]:
    read = _reader(group)
    correct = read("correct").astype(bool)
    success = {"regular_success": read("success_attacked").astype(bool)}
    attackable = {"regular_success": correct}
    chosen: dict[str, Flags] = {"attacked": success["regular_success"] & correct}
    label_kept = None
    if "success_on_manifold" in group:
        success["on_manifold_success"] = read("success_on_manifold").astype(bool)
        attackable["on_manifold_success"] = read("correct_decoded").astype(bool)
        chosen["on_manifold"] = success["on_manifold_success"] & attackable["on_manifold_success"]
        label_kept = read("label_kept_on_manifold").astype(bool)[chosen["on_manifold"]]
    rows = {kind: chosen.get(kind, np.ones(len(correct), dtype=bool)) for kind in KINDS}
    known = [kind for kind in KINDS if f"distance_{kind}" in group]
    moved = [kind for kind in known if kind in MOVED]
    attacked = ModelAttacks(
        success=success,
        attackable=attackable,
        label_kept=label_kept,
        distances={kind: read(f"distance_{kind}")[rows[kind]] for kind in known},
        norms_l2={kind: read(f"norm_l2_{kind}")[rows[kind]] for kind in moved},
        norms_linf={kind: read(f"norm_linf_{kind}")[rows[kind]] for kind in moved if kind != "noise"},
        angles={kind: read(f"angle_{kind}")[rows[kind]] for kind in moved},
        unknown_distance=read("distance_attacked_held_out")[chosen["attacked"]],
    )
    note = _note(group, chosen, unreached=int(np.isnan(read("norm_l2_noise")).sum()))
    for row in score_rows("manifold", attacked):
        yield {**row, "note": note}


def _reader(group: DumpGroup) -> Callable[[str], Values]:
    n = group.shape("labels")[0]

    def read(name: str) -> Values:
        values = np.asarray(group.read(name), dtype=np.float64)
        if values.shape != (n,):
            raise DumpError(f"{group.path}: manifold/{name} has shape {values.shape}, expected ({n},); extract again")
        return values

    return read


def _note(group: DumpGroup, chosen: dict[str, Flags], *, unreached: int) -> str:
    facts = group.attributes
    counts = ", ".join(f"{int(rows.sum())} {kind.replace('_', '-')} examples" for kind, rows in chosen.items())
    fast = ", fast settings" if facts.get("fast") else ""
    own = " of the same class" if facts.get("manifold") == "neighbours" and facts.get("same_class", True) else ""
    box = f"; the box holds no noise of the attack's norm beside {unreached} images" if unreached else ""
    return f"manifold {facts.get('manifold', '?')}{own}; {counts}{fast}{box}"
