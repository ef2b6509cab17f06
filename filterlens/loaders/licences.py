"""Under which licence the weights of a catalog's models are given away, as far as their source says so."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from filterlens.loaders.registry import parse_source

if TYPE_CHECKING:
    from filterlens.catalogs import Entry

__all__ = ["NOT_MIT", "licence_of"]

NOT_MIT: Final = (
    ("cifar10/Linf/Hendrycks2019Using", "Apache-2.0"),
    ("cifar10/Linf/Pang2020Boosting", "Apache-2.0"),
    ("cifar10*/*/Gowal2020Uncovering*", "Apache-2.0"),
    ("cifar10/L*/Ding2020MMA", "CC-BY-NC-SA-4.0"),
    ("cifar10/L2/Rony2019Decoupling", "BSD-3-Clause"),
    ("cifar10*/*/Rebuffi2021Fixing*", "Apache-2.0"),
    ("cifar10*/L*/Gowal2021Improving*", "Apache-2.0"),
)
"""Models of RobustBench whose weights are not under the MIT licence, as the LICENSE file of robustbench 1.1.1 lists
them: pattern of DATASET/THREAT/NAME, SPDX name."""


def licence_of(entry: Entry) -> str:
    """Say under which licence a model's weights are, or where that is written.

    Parameters
    ----------
    entry
        A catalog's row; its weights are not fetched.

    Returns
    -------
        An SPDX name (`MIT`) where it is known here, else where to look.

    Raises
    ------
    CheckpointError
        The source is none that filterlens knows.

    Notes
    -----
    What a data set's terms add to a licence (ImageNet's are for research only) is not in it.
    """
    if entry.licence:
        return entry.licence
    source = parse_source(entry.source)
    scheme, rest = source.scheme, source.rest
    if scheme == "robustbench":
        return next((licence for pattern, licence in NOT_MIT if fnmatchcase(rest, pattern)), "MIT")
    if scheme == "timm":
        return _timm(rest)
    elsewhere = {
        "bundled": "MIT",
        "torchvision": f"see torchvision's page of {rest}",
        "zenodo": f"see Zenodo record {rest.partition('/')[0]}",
        "hf": f"see the card of {rest}",
        "url": "see the page that offers the file",
    }
    return elsewhere.get(scheme, "yours to know")


def _timm(name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what old names and torch's own modules say while timm is imported
        from timm.models import get_pretrained_cfg

    try:
        stated = getattr(get_pretrained_cfg(name, allow_unregistered=True), "license", None)
    except RuntimeError:  # timm has no such weights, which is said where they are loaded
        stated = None
    spdx = {"mit": "MIT", "apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "cc-by-nc-4.0": "CC-BY-NC-4.0"}
    return spdx.get(stated, stated) if stated and stated != "other" else f"see timm's card of {name}"
