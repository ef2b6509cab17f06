"""What a user sees while something runs: progress with time left on a terminal, plain lines when piped."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from filterlens.cli.downloads import Downloads
from filterlens.cli.terminal import Column, describe_task, make_console, make_error_console, print_columns
from filterlens.process.logs import set_up_logging
from filterlens.process.printable import printable

if TYPE_CHECKING:
    from filterlens.runs import Event, Outcome
    from filterlens.runs.ledger import LedgerRow

__all__ = ["Display", "grouped_reasons", "set_up_logging"]

_STYLE = {"ok": "green", "failed": "red", "skipped": "yellow"}
_SHOWN = 10
_NAMED = 5


class Display:
    """Progress of an audit; use as a context manager.

    Parameters
    ----------
    beside
        Say everything on the error stream: a table for machines is printed on the other one.
    """

    def __init__(self, *, beside: bool = False) -> None:
        self.console = make_error_console() if beside else make_console()
        self._progress: Progress | None = None
        self._all: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._total = 0
        self._finished = 0
        self._downloads = Downloads(write=self.say)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._progress = Progress(
                describe_task(),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bars away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def start(self, models: int) -> None:
        """Say how many models there are."""
        self._total = models
        if self._progress is not None:
            self._all = self._progress.add_task("models", total=models, rate="")

    def hear(self, event: Event) -> None:
        """Show one event of `filterlens.runs`."""
        if event.note:
            self.say(event.note)
            self._keep(event)
        elif event.rows:
            self._end(event)
        elif event.transfer is not None and self._progress is None:
            self._downloads.hear(event.transfer)
        elif self._progress is not None and event.what:
            name = " ".join(part for part in (event.model_id, event.what) if part)
            task = self._tasks.get(event.model_id)
            if task is None:
                task = self._tasks[event.model_id] = self._progress.add_task("", rate="", total=None)
            self._progress.update(task, description=f"{name:.48}", completed=event.done, total=event.total or None)
        elif self._progress is not None:
            self._drop(event.model_id)

    def step(self, name: str) -> Callable[[int, int], None]:
        """Return a `progress(done, total)` that shows a step of its own."""
        from filterlens.runs import Event

        return lambda done, total: self.hear(Event("", name if done < total else "", done, total))

    def say(self, text: str) -> None:
        """Print one line, never wrapped: it may hold a path."""
        self.console.print(text, markup=False, soft_wrap=True)

    def cautions(self, texts: Sequence[str]) -> None:
        """Print what to know before acting on the numbers."""
        for text in texts:
            self.console.print(f"[yellow]caution[/] {escape(printable(text))}", soft_wrap=True)

    def comparison(self, folder: Path) -> None:
        """Print robust against normal, where the run holds pairs."""
        from filterlens.commands.report import robust_vs_normal

        table = robust_vs_normal(folder)
        if table.empty:
            return
        cells = list(zip(*(_comparison_cells(row) for row in table.to_dict("records")), strict=True))
        headings = ("score", "robust", "normal", "difference", "95 % interval", "adjusted p", "pairs as claimed")
        spare = (0, 0, 0, 0, 1, 0, 2)
        columns = [
            Column(heading, own, right=heading != "score", spare=rank)
            for heading, own, rank in zip(headings, cells, spare, strict=True)
        ]
        print_columns(columns, "robust against normal", console=self.console)
        for note, rows in table[table["note"].fillna("") != ""].groupby("note", sort=False):
            named = ", ".join(rows["title"].astype(str)) if len(rows) <= _NAMED else f"{len(rows)} scores"
            self.say(f"{named}: {note}")

    def summary(self, outcome: Outcome) -> None:
        """Print what became of the models, and why some failed."""
        statuses: dict[str, set[str]] = {}
        for row in outcome.rows:
            statuses.setdefault(row.model_id, set()).add(row.status)
        failed = sum("failed" in found for found in statuses.values())
        skipped = sum("failed" not in found and "ok" not in found for found in statuses.values())
        done = len(statuses) - failed - skipped
        figures = {
            "models": len(statuses),
            "done": done,
            "failed": failed,
            "skipped": skipped,
            "jobs kept": outcome.reused,
        }
        cells = {name: str(number) for name, number in figures.items()} | {"seconds": f"{outcome.seconds:.1f}"}
        columns = [Column(name, [text], right=True) for name, text in cells.items()]
        print_columns(columns, "summary", console=self.console)
        self._reasons([row for row in outcome.rows if row.status == "failed"], "failed")
        self._reasons([row for row in outcome.rows if row.status == "skipped"], "skipped")
        if failed:
            self.say(f"every reason is in {outcome.folder / 'ledger.jsonl'}; the same command tries again")

    def times(self, outcome: Outcome) -> None:
        """Print where the time went, lens by lens."""
        spent: dict[str, float] = {}
        for row in outcome.rows:
            spent[row.lens] = spent.get(row.lens, 0.0) + row.seconds
        if sum(spent.values()) >= 1:
            self.say("time: " + ", ".join(f"{lens} {seconds:.1f} s" for lens, seconds in spent.items()))

    def _reasons(self, rows: list[LedgerRow], heading: str) -> None:
        """Print why, once for all models and lenses of which the same is said."""
        groups = grouped_reasons(rows)
        for reason, found in groups[:_SHOWN]:
            models, lenses = (list(dict.fromkeys(getattr(row, name) for row in found)) for name in ("model_id", "lens"))
            more = f" and {len(models) - _NAMED} more" if len(models) > _NAMED else ""
            who = f"{', '.join(models[:_NAMED])}{more} · {', '.join(lenses)}"
            count = f" {len(found)} ×" if len(found) > 1 else ""
            said = f"[{_STYLE[heading]}]{heading}[/]{count} {escape(printable(who))}: {escape(printable(reason))}"
            self.console.print(said, soft_wrap=True)
        if len(groups) > _SHOWN:
            self.say(f"… and {sum(len(found) for _, found in groups[_SHOWN:])} more {heading}")

    def _keep(self, event: Event) -> None:
        """Count models that were done before this run."""
        if event.total and not event.model_id:
            self._finished, self._total = event.done, event.total
            if self._progress is not None and self._all is not None:
                self._progress.update(self._all, completed=event.done, total=event.total)

    def _end(self, event: Event) -> None:
        models = len({row.model_id for row in event.rows})
        self._finished += models
        parts = _counted(event.rows) if models > 1 else _each(event.rows)
        self.console.print(f"[{self._finished}/{self._total}] {escape(event.model_id)}: {', '.join(parts)}")
        for row in event.rows:
            _log(row)
        if self._progress is not None:
            self._drop(event.model_id)
            if self._all is not None:
                self._progress.advance(self._all, models)
                speed = self._progress.tasks[0].speed
                self._progress.update(self._all, rate=f"{speed * 60:.1f}/min" if speed else "")

    def _drop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None and self._progress is not None:
            self._progress.remove_task(task)


def _each(rows: Sequence[LedgerRow]) -> list[str]:
    return [f"[{_STYLE[row.status]}]{escape(row.lens)} {row.status}[/] {row.seconds:.1f} s" for row in rows]


def _counted(rows: Sequence[LedgerRow]) -> list[str]:
    """Say of many models together how many ended how, and the time of all."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        groups.setdefault((row.lens, row.status), []).append(row.seconds)
    return [
        f"[{_STYLE[status]}]{escape(lens)} {len(seconds)} {status}[/] {sum(seconds):.1f} s"
        for (lens, status), seconds in groups.items()
    ]


def grouped_reasons(rows: Sequence[LedgerRow]) -> list[tuple[str, list[LedgerRow]]]:
    """Return reasons with the rows that give them, the most frequent first; a model's own name is no difference."""
    groups: dict[str, list[LedgerRow]] = {}
    for row in rows:
        groups.setdefault(row.reason.replace(row.model_id, "…"), []).append(row)
    said = [
        (found[0].reason if len({row.model_id for row in found}) == 1 else text, found)
        for text, found in groups.items()
    ]
    return sorted(said, key=lambda group: -len(group[1]))


def _log(row: LedgerRow) -> None:
    """Write what became of a job to the log, if there is one."""
    level = logging.ERROR if row.status == "failed" else logging.INFO
    why = f" ({row.error_class or 'reason'}: {row.reason})" if row.reason else ""
    text = printable(f"{row.model_id}, {row.lens}: {row.status} after {row.seconds:.1f} s{why}")
    logging.getLogger("filterlens").log(level, "%s", f"{text}\n{row.traceback}".rstrip())


def _comparison_cells(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    """One score of the comparison, rounded for people."""
    interval = "" if math.isnan(row["ci_low"]) else f"{row['ci_low']:+.3g} … {row['ci_high']:+.3g}"
    p = "–" if math.isnan(row["p_adjusted"]) else "< 0.001" if row["p_adjusted"] < 0.001 else f"{row['p_adjusted']:.3f}"
    claimed = (
        "–" if math.isnan(row["n_expected"]) else f"{row['n_expected']:.0f} of {row['n_pairs']} {row['robust_is']}"
    )
    name = escape(str(row["title"]))
    return (
        name,
        f"{row['robust_mean']:.3g}",
        f"{row['normal_mean']:.3g}",
        f"{row['difference']:+.3g}",
        interval,
        p,
        claimed,
    )
