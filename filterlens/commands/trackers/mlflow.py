"""An audit in MLflow: a run for the audit, and one nested in it for each model or training."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from filterlens.commands.trackers.content import Audit, Logged, Subject
from filterlens.errors import InputError, MissingExtraError, WriteError
from filterlens.report.formats import frame_to_csv

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["log"]

_DIGEST = "filterlens.audit"
_KIND = "filterlens.kind"
_AT_ONCE = 100  # parameters or metrics of one request
_LONGEST = 500  # characters of a parameter
_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")
_QUIET = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"  # else the client prints two lines at the end of each run


def log(audit: Audit, *, project: str, place: str) -> Logged:
    """Write an audit into an experiment; nothing where a finished run has the very same results.

    Parameters
    ----------
    audit
        What there is to log.
    project
        The experiment's name; made where there is none.
    place
        The tracking URI; where empty, MLflow's own (`MLFLOW_TRACKING_URI`, or its default).

    Raises
    ------
    MissingExtraError
        MLflow is not installed, or what its store needs.
    WriteError
        MLflow refuses, or does not answer.
    """
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise MissingExtraError('MLflow is not installed: pip install "filterlens[trackers]"') from error
    uri = place or mlflow.get_tracking_uri()
    said = _without_password(uri)
    try:
        with _quiet():
            return _log(mlflow.MlflowClient(tracking_uri=uri), audit, project, said)
    except ImportError as error:
        raise MissingExtraError(
            f"MLflow's store at {said} needs {error.name}: pip install mlflow brings what mlflow-skinny leaves out"
        ) from error
    except MlflowException as error:
        raise WriteError(f"MLflow at {said}: {_reason(uri, str(error))}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's client from printing addresses, unless the user's environment says otherwise."""
    if _QUIET in os.environ:
        yield
        return
    os.environ[_QUIET] = "true"
    try:
        yield
    finally:
        os.environ.pop(_QUIET, None)


def _reason(uri: str, error: str) -> str:
    """Say why MLflow refuses: of the two stores that it often refuses, what to do; else its own words."""
    server = "name a server with --place http://HOST:PORT"
    if uri.startswith(_DATABASES) and not find_spec("sqlalchemy"):
        return f"mlflow-skinny, of the extra trackers, opens no database: pip install mlflow, or {server}"
    if "MLFLOW_ALLOW_FILE_STORE" in error:
        return (
            "this MLflow no longer writes into folders: name a database with --place sqlite:///mlflow.db "
            f"(pip install mlflow), {server}, or set MLFLOW_ALLOW_FILE_STORE=true"
        )
    return f"{_without_password(' '.join(error.split())):.300}"


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//…@", text)


def _log(client: MlflowClient, audit: Audit, project: str, uri: str) -> Logged:
    place, show = f"experiment {project} of {uri}", f"mlflow ui --backend-store-uri {uri}"
    if uri.startswith(("http://", "https://", "databricks")):
        show = f"open {uri}"
    runs = 1 + len(audit.subjects)
    experiment = _experiment(client, project)
    same = client.search_runs([experiment], f"tags.`{_DIGEST}` = '{audit.digest}' and tags.`{_KIND}` = 'audit'")
    if any(found.info.status == "FINISHED" for found in same):
        return Logged(place, show, runs, written=False)
    parent = client.create_run(experiment, run_name=audit.name, tags=_tags(audit, "audit")).info.run_id
    begun = [parent]
    try:
        _params(client, parent, {**audit.settings, **audit.versions})
        for name in ("tables", "figures"):
            if (audit.folder / name).is_dir():
                client.log_artifacts(parent, str(audit.folder / name), name)
        for name in ("index.html", "scores.parquet"):
            client.log_artifact(parent, str(audit.folder / name))
        for subject in audit.subjects:
            tags = _tags(audit, "training" if len(subject.steps) > 1 else "model") | {"mlflow.parentRunId": parent}
            begun.append(client.create_run(experiment, run_name=subject.name, tags=tags).info.run_id)
            _log_subject(client, begun[-1], subject)
            client.set_terminated(begun.pop())
        client.set_terminated(begun.pop())
    finally:
        for left in begun:
            client.set_terminated(left, status="FAILED")
    return Logged(place, show, runs)


def _experiment(client: MlflowClient, project: str) -> str:
    found = client.get_experiment_by_name(project)
    if found is not None and found.lifecycle_stage == "deleted":
        raise InputError(f"MLflow's experiment {project} is deleted: restore it, or name another with --project")
    return str(client.create_experiment(project) if found is None else found.experiment_id)


def _tags(audit: Audit, kind: str) -> dict[str, Any]:
    return {_DIGEST: audit.digest, _KIND: kind, "filterlens.name": audit.name}


def _params(client: MlflowClient, run: str, values: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(name, str(value)[:_LONGEST]) for name, value in values.items()]
    for start in range(0, len(params), _AT_ONCE):
        client.log_batch(run, params=params[start : start + _AT_ONCE])


def _log_subject(client: MlflowClient, run: str, subject: Subject) -> None:
    from mlflow.entities import Metric

    _params(client, run, subject.facts)
    now = int(time.time() * 1000)
    metrics = [
        Metric(name, value, now, step) for step, scores in subject.steps.items() for name, value in scores.items()
    ]
    for start in range(0, len(metrics), _AT_ONCE):
        client.log_batch(run, metrics=metrics[start : start + _AT_ONCE])
    with TemporaryDirectory(prefix="filterlens-") as folder:
        path = Path(folder) / "layers.csv"
        path.write_text(frame_to_csv(subject.layers), encoding="utf-8", errors="replace")
        client.log_artifact(run, str(path))
