"""An audit in TensorBoard: a folder of events for the audit, and one a model or training."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterlens.commands.trackers.content import Audit, Logged, Subject
from filterlens.errors import MissingExtraError, WriteError
from filterlens.process.files import explain_failure
from filterlens.process.markup import markdown_text
from filterlens.report.formats import cell

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["log"]

_SUFFIX = ".filterlens"  # of our files of events
_ROWS = 500  # of a table: it is text


def log(audit: Audit, *, place: str) -> Logged:
    """Write an audit below a folder of logs, in the place of what was logged of one of its name.

    Parameters
    ----------
    audit
        What there is to log.
    place
        The folder of logs; `runs` where empty, as TensorBoard's writer has it.

    Raises
    ------
    MissingExtraError
        TensorBoard is not installed.
    WriteError
        The folder cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError('TensorBoard is not installed: pip install "filterlens[trackers]"') from error
    logs = Path(place or "runs")
    folder = logs / audit.name.replace("/", "_")
    try:
        for earlier in folder.rglob(f"*{_SUFFIX}"):
            earlier.unlink()
        with SummaryWriter(str(folder), filename_suffix=_SUFFIX) as writer:
            _log_audit(writer, audit)
        for subject in audit.subjects:
            with SummaryWriter(str(folder / subject.slug), filename_suffix=_SUFFIX) as writer:
                _log_subject(writer, subject)
    except OSError as error:
        raise WriteError(explain_failure(folder, error)) from error
    return Logged(f"{folder}", f"tensorboard --logdir {logs}", 1 + len(audit.subjects))


def _log_audit(writer: SummaryWriter, audit: Audit) -> None:
    from torch.utils.tensorboard.summary import hparams

    facts: dict[str, Any] = {}
    scores: dict[str, float] = {}
    for known, found in map(_row, audit.subjects):
        facts, scores = known | facts, found | scores
    columns, _, _ = hparams(facts, scores)
    _add(writer, columns)
    writer.add_text("settings", _facts_table({**audit.settings, **audit.versions}))
    for name in audit.tables:
        writer.add_text(f"tables/{name}", _markdown(audit.table(name)))
    for name in audit.figures:
        _add_png(writer, f"figures/{name}", audit.image(name))
        writer.add_text(f"figures/{name}", markdown_text(audit.caption(name)))


def _log_subject(writer: SummaryWriter, subject: Subject) -> None:
    from torch.utils.tensorboard.summary import hparams

    for step, scores in subject.steps.items():
        for name, value in scores.items():
            writer.add_scalar(name, value, step)
    writer.add_text("facts", _facts_table(subject.facts))
    writer.add_text("layers", _markdown(subject.layers))
    _, start, end = hparams(*_row(subject))
    for summary in (start, end):
        _add(writer, summary)


def _row(subject: Subject) -> tuple[dict[str, Any], dict[str, float]]:
    """Return a row of the tab HPARAMS: what is known of a model, and its scores."""
    facts = {name: str(value) if isinstance(value, bool) else value for name, value in subject.facts.items()}
    return {"model": subject.name, **facts}, dict(list(subject.steps.values())[-1])


def _add_png(writer: SummaryWriter, tag: str, png: bytes) -> None:
    """Write an image as it is; its size is said in the 8 bytes after the first heading."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
    _add(writer, Summary(value=[Summary.Value(tag=tag, image=image)]))


def _add(writer: SummaryWriter, summary: Any) -> None:  # noqa: ANN401 - a message of TensorBoard's
    events: Any = writer.file_writer
    events.add_summary(summary)


def _facts_table(facts: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {markdown_text(name)} | {markdown_text(str(value))} |" for name, value in facts.items())
    return f"| | |\n|---|---|\n{rows}"


def _markdown(frame: pd.DataFrame) -> str:
    """Write a table as text, numbers rounded; of a long one its first rows."""
    head = "| " + " | ".join(markdown_text(str(name)) for name in frame.columns) + " |"
    rows = [
        "| " + " | ".join(markdown_text(cell(value)) for value in row) + " |"
        for row in frame.head(_ROWS).itertuples(index=False, name=None)
    ]
    more = [f"\n… and {len(frame) - _ROWS} rows more"] if len(frame) > _ROWS else []
    return "\n".join([head, "|---" * len(frame.columns) + "|", *rows, *more])
