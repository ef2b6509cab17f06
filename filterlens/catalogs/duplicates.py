"""The same weights under several names count once: which entries stand for which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from filterlens.catalogs.entry import Entry

__all__ = ["Distinct", "distinct_models"]

_MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Distinct:
    """A catalog's models, each once.

    Parameters
    ----------
    entries
        One model of each set of weights, in order. A match that is another's duplicate is replaced by what
        stands for it; a match that has the model's own weights is left out.
    stand_ins
        For each model that is left out, by its id, the model that stands for it.
    """

    entries: tuple[Entry, ...]
    stand_ins: Mapping[str, str]

    @property
    def note(self) -> str:
        """Say what was counted once; empty where every model has weights of its own."""
        groups: dict[str, list[str]] = {}
        for name, kept in self.stand_ins.items():
            groups.setdefault(kept, []).append(name)
        parts = []
        for kept, names in list(groups.items())[:_MOST_NAMED]:
            shown = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
            have = "model has" if len(names) == 1 else "models have"
            parts.append(f"{len(names)} {have} the same weights as {kept} ({shown})")
        if len(groups) > _MOST_NAMED:
            parts.append(f"so do {sum(map(len, list(groups.values())[_MOST_NAMED:]))} of others")
        are = "is" if len(self.stand_ins) == 1 else "are"
        return f"{'; '.join(parts)}, and {are} counted once." if parts else ""


def distinct_models(
    entries: Iterable[Entry], digests: Mapping[str, str], known: Mapping[str, int] = MappingProxyType({})
) -> Distinct:
    """Count every set of weights once.

    Parameters
    ----------
    entries
        The models, in order.
    digests
        Digest of the weights by `model_id` (see `filterlens.loaders.examine`). A model without one stands for itself.
    known
        How much is known of each model: the one of which most is known stands for the others, the first of equals.

    Examples
    --------
    >>> a, b = (Entry(model_id=name, source=f"{name}.pt") for name in "ab")
    >>> distinct_models([a, b], {"a": "1f", "b": "1f"}).note
    '1 model has the same weights as a (b), and is counted once.'
    """
    listed = list(entries)
    alike: dict[str, list[str]] = {}
    for entry in listed:
        alike.setdefault(digests.get(entry.model_id) or f"its own: {entry.model_id}", []).append(entry.model_id)
    stand_ins: dict[str, str] = {}
    for names in alike.values():
        kept = max(names, key=lambda name: known.get(name, 0))
        stand_ins |= {name: kept for name in names if name != kept}
    kept_entries = [entry for entry in listed if entry.model_id not in stand_ins]
    return Distinct(tuple(_with_match(entry, stand_ins) for entry in kept_entries), stand_ins)


def _with_match(entry: Entry, stand_ins: Mapping[str, str]) -> Entry:
    match = stand_ins.get(entry.match, entry.match)
    match = "" if match == entry.model_id else match
    return entry if match == entry.match else entry.model_copy(update={"match": match})
