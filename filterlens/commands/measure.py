"""Scores of a network in memory: interactive use, no files."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from filterlens.errors import InputError
from filterlens.lens import all_scores, get_lens, options_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

__all__ = ["measure"]

_FACTS = ("layer", "kind", "conv_depth", "conv_depth_norm", "note")


def measure(
    model: nn.Module, images: Tensor | None = None, *, lens: str = "filters", auxiliary: bool = False, **options: object
) -> pd.DataFrame:
    """Score every layer of a network, one row a layer.

    Parameters
    ----------
    model
        Any network; it is left exactly as it was (modes, hooks, weights, random state).
    images
        A batch that the model takes, shape (n, channels, height, width). The filters lens needs none (it tells the
        depth of layers from them, and tries usual image sizes without); the downsampling lens does.
    lens
        Whose scores.
    auxiliary
        Interval ends, counts and z-scores too.
    options
        Of the lens, such as `kernel="all"` or `fold_batchnorm=True`.

    Returns
    -------
        In execution order: `layer`, `kind` (the kernel size or kind of operation), `conv_depth`, `conv_depth_norm` in
        [0, 1], one column a score, and `note`. A layer that holds NaN or Inf has no scores, and its note says so.

    Raises
    ------
    InputError
        There is no such lens, it cannot measure a network in memory, an option is wrong, or the images are not what
        the model takes.
    LensSkipped
        There is no layer for the lens.

    Examples
    --------
    >>> from torch import nn
    >>> import filterlens
    >>> table = filterlens.measure(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)))
    >>> table["layer"].tolist(), table["conv_depth"].tolist()
    (['0', '1'], [0.0, 1.0])
    """
    import pandas as pd

    chosen = get_lens(lens)
    if not chosen.measure:
        raise InputError(f"the {lens} lens cannot measure a network in memory: audit its checkpoint")
    scores = {name: score for name, score in all_scores().items() if score.lens == lens}
    shown = [name for name, score in scores.items() if auxiliary or not score.auxiliary]
    layers: dict[str, dict[str, object]] = {}
    for row in resolve_name(chosen.measure)(model, images, options_of(chosen, options)):
        facts = layers.setdefault(str(row["layer"]), {name: row.get(name) for name in _FACTS})
        facts[str(row["metric"])] = row["value"]
    table = pd.DataFrame(list(layers.values()))
    return table.reindex(columns=[*_FACTS[:-1], *(name for name in shown if name in table), "note"])
