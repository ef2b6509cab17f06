"""What an analysis could not do: which lens of which model, said, and written into the ledger."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from filterlens.runs.events import Event, failed, versions
from filterlens.runs.ledger import Ledger, LedgerRow

__all__ = ["Failures", "Fault"]

_STEP = "scoring: "


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong with lenses of one model, in whichever process.

    Parameters
    ----------
    lenses
        Which ones.
    row
        A ledger row that says so.
    """

    lenses: tuple[str, ...]
    row: LedgerRow

    @classmethod
    def of(cls, lenses: Sequence[str], error: Exception, *, layer: str = "", keep_traceback: bool = False) -> Self:
        """Return an error as a fault, at a layer where that is known."""
        row = failed(LedgerRow("", "", "failed", host=socket.gethostname()), error, keep_traceback=keep_traceback)
        return cls(tuple(lenses), replace(row, reason=f"{_STEP}{f'layer {layer}: ' if layer else ''}{row.reason}"))


class Failures:
    """Failures of one analysis; those of an earlier one are taken back where the lens has its scores now.

    Parameters
    ----------
    ledger
        Where they go.
    listener
        Told of each.
    """

    def __init__(self, ledger: Ledger, listener: Callable[[Event], None]) -> None:
        self.known = ledger.latest()
        self.first = ""
        self._ledger = ledger
        self._listener = listener
        self._failed: dict[str, set[str]] = {}

    def has(self, model_id: str) -> bool:
        """Whether some lens of a model failed."""
        return model_id in self._failed

    def failed_lenses(self, model_id: str) -> set[str]:
        """Lenses of a model that failed in this analysis."""
        return self._failed.get(model_id, set())

    def lenses(self, model_id: str, status: str = "") -> list[str]:
        """Lenses that the ledger knows of a model."""
        return [lens for (m, lens), row in self.known.items() if m == model_id and status in {"", row.status}]

    def step(self, what: str) -> None:
        """Say what is done now, where progress is shown."""
        self._listener(Event("", what, 0, 1))

    def say(self, note: str) -> None:
        """Say something else in one line."""
        self._listener(Event("", "", 0, 0, note=note))

    def add(self, model_id: str, fault: Fault) -> None:
        """Note that lenses of a model failed."""
        self._failed.setdefault(model_id, set()).update(fault.lenses)
        rows = []
        for lens in fault.lenses or ("",):
            blank = self.known.get((model_id, lens)) or LedgerRow(model_id, lens, "failed", versions=versions())
            found = fault.row
            rows.append(
                replace(
                    blank,
                    status=found.status,
                    reason=found.reason,
                    error_class=found.error_class,
                    traceback=found.traceback,
                    host=found.host,
                )
            )
        self._ledger.append(rows)
        note = f"failed {model_id} · {', '.join(fault.lenses)}: {rows[0].reason}"
        self.first = self.first or note
        self._listener(Event(model_id, "", 0, 0, tuple(rows), note=note))

    def heal(self, model_id: str, lens: str) -> None:
        """Take back what an earlier analysis noted."""
        row = self.known.get((model_id, lens))
        if row is not None and row.status == "failed" and row.reason.startswith(_STEP):
            self._ledger.append([replace(row, status="ok", reason="", error_class="", traceback="")])
