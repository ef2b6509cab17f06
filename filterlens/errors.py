"""What can go wrong, said for the person who meets it.

Every message names what happened, where (file, row, layer, model) and what to do next. The command line prints
the message and exits; it never shows a traceback for one of these.
"""

from __future__ import annotations

__all__ = [
    "AuditLockedError",
    "CatalogError",
    "CheckpointError",
    "DownloadError",
    "DumpError",
    "FilterlensError",
    "InputError",
    "LensSkipped",
    "MissingExtraError",
    "NonFiniteWeightError",
    "ReportError",
    "UnsafeCheckpointError",
    "UnsafeFolderError",
    "WriteError",
]


class FilterlensError(Exception):
    """Anything that filterlens expects to go wrong; the message is for the user."""


class CatalogError(FilterlensError):
    """A catalog cannot be found, read or trusted; names file, line and column."""


class CheckpointError(FilterlensError):
    """A checkpoint cannot be turned into weights or a model."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint would have to run code to be read."""


class DownloadError(FilterlensError):
    """A file could not be fetched, or what came is not what was expected."""


class DumpError(FilterlensError):
    """An HDF5 dump is missing, damaged or not ours."""


class InputError(FilterlensError):
    """Images, labels or settings that a lens cannot work with."""


class NonFiniteWeightError(FilterlensError):
    """A layer holds NaN or Inf, so that it has no score."""


class WriteError(FilterlensError):
    """A file cannot be written: the disk is full, or the folder is not ours to write."""


class ReportError(FilterlensError):
    """A report cannot be made from what the folder holds."""


class UnsafeFolderError(WriteError):
    """A run's folder holds a link, a pipe or a device where its own files should be."""


class AuditLockedError(FilterlensError):
    """Another audit works on the same folder."""


class MissingExtraError(FilterlensError):
    """An optional dependency is not installed; the message says which extra brings it."""


class LensSkipped(FilterlensError):  # noqa: N818 - no error: the lens does not apply, and the ledger says why
    """A lens does not apply to this model; the reason goes to the ledger as `skipped`."""
