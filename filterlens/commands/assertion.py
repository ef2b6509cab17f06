"""`assert_scores`: bounds on a model's scores, as a test says them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from filterlens.commands.bounds import BoundCheck
    from filterlens.commands.check import WeightCheck

__all__ = ["assert_scores"]

_SIGNS = ("<", ">")


def assert_scores(model: str | Path | nn.Module, *bounds: str, **scores: Any) -> None:  # noqa: ANN401 - options of any lens
    """Fail where a model's scores are not within bounds: `filterlens.check` for a test.

    Parameters
    ----------
    model
        A network in memory, or a checkpoint as `filterlens.check` takes it.
    bounds
        As `filterlens.check` takes them, such as `"max-layer-sparsity=0.5"`.
    scores
        Bounds by the score's name, `sparsity="<0.3"`, and of every layer, `layer_sparsity="<=0.5"`; several of one
        score in a list. All others are what `filterlens.check` takes, such as `images` and `labels`. Lenses are those
        of the scores, unless `lenses` names others.

    Raises
    ------
    AssertionError
        A bound is broken, or a layer is dead; it names the model, each score, its value, bound and layer.
    InputError, CheckpointError
        As `filterlens.check`.

    Examples
    --------
    >>> import filterlens
    >>> filterlens.assert_scores("fonts-linf/preact_resnet-pgd-s0", sparsity="<0.3", layer_orthogonality=">0.5")
    """
    __tracebackhide__ = True  # pytest shows the test's own line
    from filterlens.commands.bounds import parse_bound
    from filterlens.commands.check import check
    from filterlens.commands.memory import name_of
    from filterlens.lens import get_score

    named = {name: found for name, value in scores.items() if (found := _texts(value))}
    wanted = [*bounds, *(f"{name}{text}" for name, texts in named.items() for text in texts)]
    lenses = dict.fromkeys(get_score(parse_bound(text).metric).lens for text in wanted)
    how = {"lenses": list(lenses) or ["filters"]} | {name: value for name, value in scores.items() if name not in named}
    results = check(model, wanted, **how)
    failed = [result for result in results if not result.passed]
    if failed:
        raise AssertionError(_said(name_of(model), failed, [result for result in results if result.passed]))


def _texts(value: object) -> list[str]:
    """Return the bounds that a keyword's value is; none where it is an option."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return []
    return [text.strip() for text in texts] if all(text.strip().startswith(_SIGNS) for text in texts) else []


def _said(model: str, failed: Sequence[BoundCheck | WeightCheck], passed: Sequence[BoundCheck | WeightCheck]) -> str:
    head = f"{model}: {len(failed)} of {len(failed) + len(passed)} checks failed"
    return "\n".join([head, *(f"  FAIL {one.text}" for one in failed), *(f"  pass {one.text}" for one in passed)])
