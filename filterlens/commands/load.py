"""One model, by its source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from filterlens.catalogs import Entry

if TYPE_CHECKING:
    from filterlens.loaders.model import LoadedModel

__all__ = ["load_model"]


def load_model(source: str | Path | Entry, *, trust_pickle: bool = False, allow_code: bool = False) -> LoadedModel:
    """Load one model by its source URI, path or catalog entry.

    Parameters
    ----------
    source
        Such as `robustbench:cifar10/Linf/Wong2020Fast`, `timm:resnet50`, a path, or an `Entry`.
    trust_pickle
        Let the checkpoint run code; only for files that you made.
    allow_code
        Let an `Entry` whose source is `module:…` run code; a source given as text is your own word and needs none.

    Raises
    ------
    CheckpointError, DownloadError, InputError
        It cannot be loaded; the message says why and what to do.
    """
    from filterlens import loaders

    entry = source if isinstance(source, Entry) else Entry(model_id=Path(str(source)).name[:300], source=str(source))
    own = not isinstance(source, Entry)
    return loaders.load_model(entry, Path.cwd(), trust_pickle=trust_pickle, allow_code=allow_code or own)
