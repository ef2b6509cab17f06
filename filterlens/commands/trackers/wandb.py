"""An audit in Weights & Biases: a group of runs, one for the audit, and one a model or training."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from filterlens.commands.trackers.content import Audit, Logged, Subject
from filterlens.errors import MissingExtraError, WriteError
from filterlens.process.digests import combined_digest

if TYPE_CHECKING:
    import pandas as pd
    from wandb import Run

__all__ = ["log"]

_NAME = 128  # characters of a group or artifact


def log(audit: Audit, *, project: str, place: str, offline: bool) -> Logged:
    """Write an audit as a group of runs; the same results have the same ids, whoever logs them again.

    Parameters
    ----------
    audit
        What there is to log.
    project
        The project.
    place
        The folder in which `wandb/` is made; the working directory where empty.
    offline
        Send nothing; `wandb sync` does it later. `WANDB_MODE` decides where False.

    Raises
    ------
    MissingExtraError
        Weights & Biases is not installed.
    WriteError
        The client refuses, or cannot log in.
    """
    try:
        import wandb
    except ImportError as error:
        raise MissingExtraError('Weights & Biases is not installed: pip install "filterlens[trackers]"') from error

    settings = wandb.Settings(
        console="off", disable_code=True, disable_git=True, save_code=False, silent=True, x_disable_meta=True,
        x_disable_stats=True, x_save_requirements=False,
    )  # fmt: skip
    shared: dict[str, Any] = {"project": project, "group": audit.name[:_NAME], "settings": settings}
    shared |= {"dir": place or None, "mode": "offline" if offline else None, "reinit": "create_new"}

    def begin(name: str, kind: str, config: Mapping[str, Any]) -> Run:
        own = combined_digest([(kind, audit.digest), ("name", name)])[:16]
        return wandb.init(id=own, name=name[:_NAME], job_type=kind, config=dict(config), tags=["filterlens"], **shared)

    try:
        if not offline and os.environ.get("WANDB_MODE", "online") == "online":
            wandb.login()  # asks on a terminal; elsewhere it says what is missing
        with begin(audit.name, "audit", {**audit.settings, **audit.versions, "audit_digest": audit.digest}) as run:
            _log_audit(run, audit)
            place_of = run.settings.sync_dir if run.settings.mode == "offline" else run.url
            offline = offline or run.settings.mode == "offline"
        for subject in audit.subjects:
            kind = "training" if len(subject.steps) > 1 else "model"
            with begin(subject.name, kind, {**subject.facts, "audit_digest": audit.digest}) as run:
                _log_subject(run, subject)
    except (wandb.Error, OSError) as error:
        said = " ".join(str(error).split())
        raise WriteError(f"Weights & Biases: {said:.500} (--offline writes files and sends nothing)") from error
    show = f"wandb sync {place or '.'}/wandb/offline-run-*" if offline else f"open {place_of}"
    return Logged(f"project {project}, group {audit.name}", show, 1 + len(audit.subjects))


def _log_audit(run: Run, audit: Audit) -> None:
    import wandb

    found: dict[str, Any] = {f"tables/{name}": _table(audit.table(name)) for name in audit.tables}
    for name, path in audit.figures.items():
        audit.image(name)  # it is one
        found[f"figures/{name}"] = wandb.Image(str(path), caption=audit.caption(name))
    page = audit.page.read_text(encoding="utf-8", errors="replace")
    run.log(found | {"report": wandb.Html(page, inject=False)})
    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"audit-{audit.name}")[:_NAME], type="audit")
    artifact.add_file(str(audit.folder / "scores.parquet"))
    run.log_artifact(artifact)


def _log_subject(run: Run, subject: Subject) -> None:
    *earlier, last = subject.steps.items()
    for step, scores in earlier:
        run.log(dict(scores), step=step)
    step, scores = last
    run.log({**scores, "layers": _table(subject.layers)}, step=step)


def _table(frame: pd.DataFrame) -> Any:  # noqa: ANN401 - a `wandb.Table`
    import wandb

    plain = frame.astype(object).where(frame.notna(), None)
    rows: Any = plain.to_numpy().tolist()
    return wandb.Table(columns=[str(name) for name in plain.columns], data=rows, allow_mixed_types=True)
