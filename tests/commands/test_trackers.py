"""An audit is logged by each tracker's real client, and read back by its own reader."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from commands.wandb_file import read_wandb
from small_zoo import make_zoo
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.commands.trackers.content import read_audit
from filterlens.errors import InputError, MissingExtraError, ReportError, WriteError
from filterlens.score import model_scores, read_scores

EVIL = "<script>|`x`"
ROWS = [
    ("model_id", "source", "dataset", "robust", "match", "eps", "epoch", "training"),
    (EVIL, "net0-robust.pt", "cifar10", "true", "net0-normal", "8/255", "", ""),
    ("net0-normal", "net0-normal.pt", "cifar10", "false", "", "", "", ""),
    ("late", "net1-robust.pt", "cifar10", "", "", "", "7", "lab/exp"),
    ("early", "net1-normal.pt", "cifar10", "", "", "", "2", "lab/exp"),
]
pytestmark = pytest.mark.filterwarnings("default")  # the clients' own


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracked")
    make_zoo(folder / "zoo")
    with (folder / "zoo" / "mine.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(ROWS)
    done = filterlens.audit(folder / "zoo" / "mine.csv", folder / "run", lenses=["filters"])
    assert done.page is not None
    return folder / "run"


@pytest.fixture(scope="module")
def means(audited: Path) -> pd.DataFrame:
    return model_scores(read_scores(audited / "scores.parquet"))


def test_what_is_logged_is_the_audit_its_models_and_its_training(audited: Path, means: pd.DataFrame) -> None:
    audit = read_audit(audited)
    evil, normal, training = audit.subjects
    assert [subject.name for subject in audit.subjects] == [EVIL, "net0-normal", "lab/exp"]
    assert list(training.steps) == [2, 7]
    assert training.steps[7]["filters/sparsity"] == pytest.approx(means["sparsity"]["late"])
    assert list(normal.steps) == [0]
    assert (evil.facts["robust"], evil.facts["eps"]) == (True, pytest.approx(8 / 255))
    assert "weights_sha256" in normal.facts
    assert "weights_sha256" not in training.facts, "that is another one at each checkpoint"
    assert len(normal.layers) == 2
    assert training.layers["epoch"].tolist() == [2, 2, 7, 7] or training.layers["epoch"].tolist() == [7, 7, 2, 2]
    assert audit.settings["leaderboard"] == "mine.csv", "where it lies is nobody's business"
    assert audit.settings["filters.kernel"] == "auto"
    assert audit.versions["version.torch"]
    assert {"filters_depth", "filters_trajectory"} <= set(audit.figures)
    assert {"models", "robust_vs_normal"} <= set(audit.tables)


def test_tensorboard_shows_scores_tables_and_figures(audited: Path, means: pd.DataFrame, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):  # a second time replaces the first
        command = ["log", str(audited), "--to", "tensorboard", "--place", str(tmp_path), "--name", "mine"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert f"tensorboard --logdir {tmp_path}" in result.output
    assert len(list(tmp_path.rglob("events*"))) == 4

    def read(folder: Path) -> Any:
        every = {"images": 0, "tensors": 0, "scalars": 0}
        found = accumulator.EventAccumulator(str(folder), size_guidance=every)
        found.Reload()
        return found

    audit = read(tmp_path / "mine")
    figure = audit.Images("figures/filters_depth")[0]
    assert figure.encoded_image_string == (audited / "figures" / "filters_depth.png").read_bytes()
    assert 100 < figure.width < 5000
    (text,) = audit.Tensors("tables/models/text_summary")[0].tensor_proto.string_val
    assert "net0-normal" in text.decode()
    assert "<script>" not in text.decode()
    normal = read(tmp_path / "mine" / "net0-normal")
    (value,) = normal.Scalars("filters/orthogonality")
    assert (value.step, value.value) == (0, pytest.approx(means["orthogonality"]["net0-normal"], rel=1e-6))
    training = next(folder for folder in (tmp_path / "mine").iterdir() if folder.name.startswith("lab_exp"))
    curve = read(training).Scalars("filters/sparsity")
    assert [(point.step, point.value) for point in curve] == [
        (2, pytest.approx(means["sparsity"]["early"])),
        (7, pytest.approx(means["sparsity"]["late"])),
    ]
    from tensorboard.plugins.hparams import plugin_data_pb2

    row, columns = (plugin_data_pb2.HParamsPluginData() for _ in range(2))
    row.ParseFromString(normal.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    assert row.session_start_info.hparams["model"].string_value == "net0-normal"
    assert row.session_start_info.hparams["robust"].string_value == "False"
    columns.ParseFromString(audit.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    assert {"filters/sparsity"} <= {info.name.tag for info in columns.experiment.metric_infos}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes seconds to be made
    return pytest.importorskip("mlflow", reason="`make test` installs it: see tests/mlflow.txt")


def test_mlflow_has_a_run_an_audit_and_one_in_it_a_model(
    audited: Path, means: pd.DataFrame, tmp_path: Path, mlflow: Any
) -> None:
    uri = (tmp_path / "store").as_uri()
    first = filterlens.log(audited, "mlflow", project="lab", name="mine", place=uri)
    again = filterlens.log(audited, "mlflow", project="lab", name="mine", place=uri)
    assert (first.runs, first.written, again.written) == (4, True, False)
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("lab").experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    audit, normal, training = (by_name[name] for name in ("mine", "net0-normal", "lab/exp"))
    assert normal.data.tags["mlflow.parentRunId"] == audit.info.run_id
    assert normal.data.metrics["filters/sparsity"] == pytest.approx(means["sparsity"]["net0-normal"])
    assert normal.data.params["dataset"] == "cifar10"
    assert audit.data.params["seed"] == "0"
    assert audit.data.params["version.torch"]
    curve = client.get_metric_history(training.info.run_id, "filters/sparsity")
    assert {point.step: point.value for point in curve} == {
        2: pytest.approx(means["sparsity"]["early"]),
        7: pytest.approx(means["sparsity"]["late"]),
    }
    assert {file.path for file in client.list_artifacts(audit.info.run_id, "figures")} >= {"figures/filters_depth.png"}
    assert {file.path for file in client.list_artifacts(audit.info.run_id)} >= {
        "index.html",
        "scores.parquet",
        "tables",
    }
    layers = pd.read_csv(client.download_artifacts(normal.info.run_id, "layers.csv", str(tmp_path)))
    assert layers["layer"].tolist() == ["stem", "block.conv"]


def test_a_log_that_breaks_off_leaves_no_run_that_counts(
    audited: Path, tmp_path: Path, mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = (tmp_path / "store").as_uri()
    tag = mlflow.MlflowClient.log_artifact
    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", _full)
    with pytest.raises(WriteError, match=r"MLflow at .*: no space"):
        filterlens.log(audited, "mlflow", place=uri)
    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", tag)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("filterlens").experiment_id
    assert {run.info.status for run in client.search_runs([experiment])} == {"FAILED"}
    assert filterlens.log(audited, "mlflow", place=uri).written


def test_a_store_that_mlflow_refuses_is_told_with_what_to_do(
    audited: Path, tmp_path: Path, mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    with pytest.raises(WriteError, match=r"folders: name a database with --place sqlite:///mlflow\.db .*=true$"):
        filterlens.log(audited, "mlflow", place=(tmp_path / "store").as_uri())
    monkeypatch.setattr("filterlens.commands.trackers.mlflow.find_spec", lambda _: None)
    refuse = mlflow.exceptions.MlflowException("got unsupported URI")
    monkeypatch.setattr(mlflow, "MlflowClient", lambda **_: (_ for _ in ()).throw(refuse))
    with pytest.raises(WriteError, match=r"opens no database: pip install mlflow, or name a server with --place http"):
        filterlens.log(audited, "mlflow", place=f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_mlflows_client_prints_nothing_of_its_own_to_stdout(
    audited: Path, mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    said: list[bool] = []

    def refuse(**_: Any) -> None:
        said.append(mlflow.environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get())
        raise mlflow.exceptions.MlflowException("enough")

    monkeypatch.setattr(mlflow, "MlflowClient", refuse)
    with pytest.raises(WriteError, match="enough"):
        filterlens.log(audited, "mlflow", place="http://127.0.0.1:9")
    assert said == [True]


def _full(*_: Any) -> None:
    from mlflow.exceptions import MlflowException

    raise MlflowException("no space")


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "home"))
    found = pytest.importorskip("wandb")
    yield found
    found.teardown()


def test_weights_and_biases_has_a_group_of_runs(audited: Path, means: pd.DataFrame, tmp_path: Path, wandb: Any) -> None:
    done = filterlens.log(audited, "wandb", project="lab", name="mine", place=tmp_path, offline=True)
    assert "wandb sync" in done.show
    wandb.teardown()  # the process that writes ends, and has written everything
    runs = {run["name"]: run for run in map(read_wandb, (tmp_path / "wandb").glob("offline-run-*/*.wandb"))}
    assert set(runs) == {"mine", EVIL, "net0-normal", "lab/exp"}
    assert {(run["project"], run["group"]) for run in runs.values()} == {("lab", "mine")}
    assert [runs[name]["kind"] for name in ("mine", "net0-normal", "lab/exp")] == ["audit", "model", "training"]
    normal, training = runs["net0-normal"], runs["lab/exp"]
    assert normal["history"][0]["filters/orthogonality"] == pytest.approx(means["orthogonality"]["net0-normal"])
    assert normal["config"]["dataset"] == "cifar10"
    curve = {step: values["filters/sparsity"] for step, values in training["history"].items()}
    assert curve == {2: pytest.approx(means["sparsity"]["early"]), 7: pytest.approx(means["sparsity"]["late"])}
    (table,) = (tmp_path / "wandb").glob(f"offline-run-*-{normal['id']}/files/media/table/layers*.json")
    assert [row[1] for row in json.loads(table.read_text())["data"]] == ["stem", "block.conv"]
    logged = runs["mine"]["history"][0]
    assert logged["figures/filters_depth/_type"] == "image-file"
    assert logged["tables/models/nrows"] == len(pd.read_csv(audited / "tables" / "models.csv"))
    assert runs["mine"]["config"]["filters.kernel"] == "auto"


def test_the_same_results_have_the_same_ids(audited: Path) -> None:
    one, other = read_audit(audited, "a"), read_audit(audited, "b")
    assert one.digest == other.digest


def test_wrong_words_are_said_before_anything_is_written(audited: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tracker is called 'comet'; there are mlflow, wandb, tensorboard"):
        filterlens.log(audited, "comet")
    with pytest.raises(InputError, match="--offline is for wandb"):
        filterlens.log(audited, "tensorboard", place=tmp_path, offline=True)
    with pytest.raises(ReportError, match=r"is not an audit's folder"):
        filterlens.log(tmp_path, "tensorboard")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_report_of_its_scores_is_refused(audited: Path, tmp_path: Path) -> None:
    for name in ("scores.parquet", "catalog.csv", "ledger.jsonl"):
        (tmp_path / name).write_bytes((audited / name).read_bytes())
    with pytest.raises(ReportError, match="has no report of its scores: run `filterlens report"):
        filterlens.log(tmp_path, "tensorboard", place=tmp_path / "logs")


@pytest.mark.parametrize(
    ("file", "said"),
    [("figures/filters_depth.png", "is no PNG file"), ("tables/models.csv", "cannot be read as a table")],
)
def test_a_damaged_report_is_named(audited: Path, tmp_path: Path, file: str, said: str) -> None:
    shutil.copytree(audited, tmp_path / "run")
    (tmp_path / "run" / file).write_bytes(b"\xff\xfe\x89P,\n")
    with pytest.raises(ReportError, match=rf"{file} {said}: run `filterlens report` again"):
        filterlens.log(tmp_path / "run", "tensorboard", place=tmp_path / "logs")


@pytest.mark.parametrize(
    ("to", "module"), [("mlflow", "mlflow"), ("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_a_client_that_is_not_installed_is_named_with_its_extra(
    audited: Path, to: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'is not installed: pip install "filterlens\[trackers\]"'):
        filterlens.log(audited, to)


def test_a_password_in_an_address_is_not_repeated(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(Exception):
        pass

    def refuse(**_: Any) -> None:
        raise Refused("no route to https://me:secret@host")

    fake = SimpleNamespace(MlflowClient=refuse, get_tracking_uri=lambda: "")
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", SimpleNamespace(MlflowException=Refused))
    with pytest.raises(WriteError, match=r"^MLflow at https://…@host: no route to https://…@host"):
        filterlens.log(audited, "mlflow", place="https://me:secret@host")
