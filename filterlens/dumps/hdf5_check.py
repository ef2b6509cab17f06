"""Check an HDF5 file of others in a process of its own, before this one opens it.

`hdf5_walk.py` walks the whole file: every object, attribute, type, filter and chunk, not the data. Data may be damaged
still: reading them raises, as their checksums fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from filterlens.errors import DumpError
from filterlens.process.isolated import IsolatedCheck

__all__ = ["check_hdf5", "trust_hdf5"]

_ADVICE: Final = "it is damaged or not a dump; extract again, by the same `filterlens audit` or `extract`"

_check = IsolatedCheck(
    Path(__file__).with_name("hdf5_walk.py"),
    packages=("h5py", "numpy"),
    library="libhdf5",
    environment={
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "BEST_EFFORT",
        "OPENBLAS_NUM_THREADS": "1",
    },
)


def check_hdf5(path: Path, *, cells: bool = False, error: type[Exception] = DumpError, advice: str = _ADVICE) -> None:
    """Refuse a file that libhdf5 cannot walk, or that holds what a dump never holds.

    Parameters
    ----------
    path
        The file. One that has passed, and has not changed since, is not walked again.
    cells
        Allow arrays of text and of rows of differing length, as pandas writes them; the rows are read once, too.
    error, advice
        Class of what is raised, and how its message ends.

    Raises
    ------
    DumpError
        Or `error`. The file hangs or crashes libhdf5; holds links, data in other files, virtual arrays, types that are
        no plain numbers, or filters other than gzip, LZF, shuffle and Fletcher-32; or declares more than 64 MB and 100
        times its own size: LZF, which dumps use, stores at most 264 bytes in 3.
    """
    try:
        refused = _check.refusal(path, cells=cells)
    except OSError as failure:
        raise error(f"{path} cannot be read as HDF5 ({failure}): {advice}") from failure
    if refused:
        raise error(f"{path} cannot be read as HDF5 ({refused}): {advice}")


def trust_hdf5(path: Path) -> None:
    """Spare a file the check, as this process has just written it."""
    _check.trust(path, cells=False)
