"""Where warnings and events go: nowhere, to the terminal, to a file; the same in every process of an audit.

Libraries warn, log, and warn again for every model. Without `--verbose` none of it reaches the terminal; a log file
gets all of it, from worker processes too.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from filterlens.errors import InputError
from filterlens.process.printable import printable

__all__ = ["follow_logging", "log_end", "set_up_logging", "show_escapes"]

_OWN = "filterlens"
_format_warning = warnings.formatwarning
_VARIABLE = "FILTERLENS_LOGGING"  # worker processes inherit it, on a cluster too


def set_up_logging(*, verbose: bool, log_file: Path | None) -> None:
    """Send the warnings and log records of this process and of its workers where the user wants them.

    Parameters
    ----------
    verbose
        Show warnings on the terminal.
    log_file
        Append warnings and events to this file.

    Raises
    ------
    InputError
        The log file cannot be written.
    """
    if not verbose:
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # what a worker's imports say comes before all else
    path = None if log_file is None else log_file.absolute()
    os.environ[_VARIABLE] = json.dumps({"verbose": verbose, "file": "" if path is None else str(path)})
    try:
        _apply(verbose=verbose, path=path)
    except OSError as error:
        raise InputError(f"--log-file {log_file} cannot be written ({error.strerror})") from error


def follow_logging() -> None:
    """Set up a worker process's logging as its driver's."""
    if told := os.environ.get(_VARIABLE):
        found = json.loads(told)
        with suppress(OSError):  # another machine may not see the file
            _apply(verbose=found["verbose"], path=Path(found["file"]) if found["file"] else None)


def log_end(error: BaseException) -> None:
    """Write what ended the program to the log file, where there is one."""
    if any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers):
        logging.getLogger(_OWN).critical("%s", error, exc_info=error)


class _Formatter(logging.Formatter):
    """One record, one line; what follows (a traceback) is set in, so that no name can look like another record."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True).replace("\n", "\n    ")


def _formatted_warning(*told: Any, **more: Any) -> str:  # noqa: ANN401 - Python's own signature
    return printable(_format_warning(*told, **more), lines=True)


def show_escapes() -> None:
    """Make visible what names of others in warnings and log records would do to a terminal."""
    warnings.formatwarning = _formatted_warning
    if logging.lastResort is not None:  # prints what no handler takes
        logging.lastResort.setFormatter(_Formatter("%(message)s"))


def _apply(*, verbose: bool, path: Path | None) -> None:
    show_escapes()
    logging.raiseExceptions = False  # a disk that is full under the log file stops no audit
    root = logging.getLogger()
    if path is not None:
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(_Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
        shown = logging.StreamHandler()
        shown.setFormatter(_Formatter("%(levelname)s:%(name)s:%(message)s"))
        shown.setLevel(logging.WARNING)
        shown.addFilter(lambda record: record.name != _OWN)  # the terminal has it in another form
        logging.basicConfig(level=logging.INFO, handlers=[file, shown] if verbose else [file], force=True)
        logging.captureWarnings(capture=True)
        warnings.simplefilter("default")
    elif not verbose:
        root.addHandler(logging.NullHandler())
        warnings.simplefilter("ignore")
