"""A dump that was made elsewhere, put into its place."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from filterlens.dumps.writing import DumpWriter
from filterlens.errors import DumpError
from filterlens.process.files import atomic_write

__all__ = ["receive_dump"]


def receive_dump(content: NDArray[np.uint8], path: Path) -> None:
    """Write a dump's bytes; lenses that an earlier dump holds are kept unless the new one holds them too.

    Parameters
    ----------
    content
        The whole file, shape (bytes,), as `DumpWriter` has written it.
    path
        Where the dump is to appear.

    Raises
    ------
    DumpError, WriteError
        The bytes are no dump, or the folder cannot be written.
    """
    if not path.exists():
        with atomic_write(path) as temporary:
            content.tofile(temporary)
        return
    try:
        with h5py.File(io.BytesIO(content.data), "r") as came, DumpWriter(path, dict(came.attrs)) as dump:
            dump.take(came)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise DumpError(
            f"{path}: what came from another machine is no dump ({error}); run the same command again"
        ) from error
