"""Checkpoints of trainings are a catalog by epoch, and a run of them shows scores against epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models
from typer.testing import CliRunner

from filterlens.catalogs import Catalog, Entry, read_catalog
from filterlens.catalogs.trajectories import epoch_of, read_trajectory
from filterlens.cli.app import app
from filterlens.commands.report import all_figures, report
from filterlens.dumps import DumpReader
from filterlens.errors import CatalogError, CheckpointError, InputError, ReportError
from filterlens.loaders import load_model
from filterlens.loaders.architectures import build
from filterlens.report import read_run
from filterlens.report.data import RunData
from filterlens.report.tables import trajectory_table
from filterlens.report.trajectory import collapses, trajectory_figure
from filterlens.runs import analyze, extract
from filterlens.score import as_table


@pytest.mark.parametrize(
    ("stem", "epoch"),
    [
        ("epoch=12-step=4000", 12),
        ("step=4000-epoch=12", 12),
        ("checkpoint_012", 12),
        ("model-12", 12),
        ("resnet18_epoch_3", 3),
        ("wrn-28-10_ep007", 7),
        ("ckpt_e7", 7),
        ("iter_500", 500),
        ("resnet18-0009", 9),
        ("12", 12),
        ("best", None),
        ("last", None),
    ],
)
def test_names_tell_epochs(stem: str, epoch: int | None) -> None:
    assert epoch_of(stem) == epoch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four checkpoints of a small network whose filters fade below their first row, and a best one."""
    place = tmp_path / "exp7" / "checkpoints"
    place.mkdir(parents=True)
    torch.manual_seed(0)
    network = build("resnet_strided")
    for epoch in (0, 2, 10, 5):
        weights = {key: value.clone() for key, value in network.state_dict().items()}
        for weight in weights.values():
            if weight.dim() == 4:
                weight[..., 1:, :] *= 1 - epoch / 12
        save_file(weights, place / f"epoch-{epoch}.safetensors")
    torch.save(network.state_dict(), place / "best.pt")
    (tmp_path / "exp7" / "log.csv").write_text("epoch\n")
    torch.save({}, tmp_path / "exp7" / "state.pt")
    return tmp_path / "exp7"


def test_checkpoints_are_ordered_by_epoch_and_others_left_out(folder: Path) -> None:
    found = read_trajectory(folder, "bundled:resnet_strided", eps="8/255", mean="0.5", std="0.25")
    assert [entry.epoch for entry in found.catalog] == [0, 2, 5, 10]
    entry = found.catalog["epoch-10"]
    assert entry.source == "bundled:resnet_strided?weights=epoch-10.safetensors"
    assert (entry.eps, entry.mean, entry.std, entry.threat_model) == (8 / 255, (0.5,), (0.25,), "Linf")
    assert found.catalog.name == "exp7"
    assert [path.name for path in found.left_out] == ["best.pt"]


def test_without_an_architecture_sources_are_plain_files(folder: Path) -> None:
    catalog = read_trajectory(folder).catalog
    assert catalog["epoch-2"].source == "epoch-2.safetensors"
    assert load_model(catalog["epoch-2"], catalog.folder).network is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "resnet18"}, "--arch 'resnet18': write bundled:"),
        ({"eps": "much"}, r"--eps: a number such as 8/255 or 0\.5 was expected, got 'much'"),
        ({"mean": "0.5"}, "--mean and --std go together"),
        ({"mean": "a", "std": "b"}, "--mean: one number a channel, separated by blanks, was expected"),
    ],
)
def test_wrong_options_are_named(folder: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        read_trajectory(folder, **options)


def test_folders_without_epochs_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CatalogError, match="there is no folder"):
        read_trajectory(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="holds no checkpoints: files such as epoch-001"):
        read_trajectory(tmp_path / "empty")
    torch.save({}, tmp_path / "empty" / "best.pt")
    with pytest.raises(CatalogError, match=r"no name in .*empty tells an epoch \(such as best\.pt\)"):
        read_trajectory(tmp_path / "empty")
    torch.save({}, folder / "checkpoints" / "epoch-02.pt")
    with pytest.raises(CatalogError, match=r"epoch-02\.pt and epoch-2\.safetensors in .* are both of epoch 2"):
        read_trajectory(folder)


@pytest.mark.parametrize("scheme", ["timm", "torchvision"])
def test_libraries_networks_take_local_weights_with_their_own_number_of_classes(tmp_path: Path, scheme: str) -> None:
    torch.manual_seed(0)
    network = models.resnet18(weights=None, num_classes=7).eval()
    torch.save(network.state_dict(), tmp_path / "a b+c%.pt")
    from urllib.parse import quote

    entry = Entry(model_id="mine", source=f"{scheme}:resnet18?weights={quote('a b+c%.pt')}")
    model = load_model(entry, tmp_path)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.require_classifier("filters")(images), network(images))
    assert not model.require_classifier("filters").is_normalised
    normalised = entry.model_copy(update={"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)})
    with torch.no_grad():
        found = load_model(normalised, tmp_path).require_classifier("filters")(images)
        torch.testing.assert_close(found, network((images - 0.5) / 0.2))


@pytest.mark.parametrize("source", ["timm:resnet50", "torchvision:resnet34", "bundled:vgg_maxpool"])
def test_weights_of_another_architecture_are_refused(folder: Path, source: str) -> None:
    entry = Entry(model_id="mine", source=f"{source}?weights=checkpoints/epoch-2.safetensors")
    with pytest.raises(CheckpointError, match=r"epoch-2\.safetensors"):
        load_model(entry, folder)


def test_other_options_than_weights_are_refused(folder: Path) -> None:
    entry = Entry(model_id="mine", source="timm:resnet18?wieghts=a.pt")
    with pytest.raises(CheckpointError, match="gives 'wieghts': a timm: source knows weights=PATH only"):
        load_model(entry, folder)


def audit(folder: Path, out: Path, *words: str) -> str:
    command = ["audit", "--folder", str(folder), "--out", str(out), "--fast", *words]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_audit_of_a_folder_draws_scores_against_epoch(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--arch", "bundled:resnet_strided", "--data", "fonts", "--lens", "filters,downsampling", "-n", "8")
    assert "left out: best.pt, whose name tells no epoch" in audit(folder, out, *words)
    assert [entry.epoch for entry in read_catalog(out / "catalog.csv")] == [0, 2, 5, 10]
    table = pd.read_csv(out / "tables" / "trajectory.csv")
    assert table["epoch"].tolist() == [0, 2, 5, 10]
    assert (np.diff(table["variance_entropy"]) < 0).all()
    for lens in ("filters", "downsampling"):
        assert (out / "figures" / f"{lens}_trajectory.pdf").is_file()
    drawn = pd.read_csv(out / "figures" / "filters_trajectory.csv").fillna({"layer": ""})
    entropy = drawn[(drawn["metric"] == "variance_entropy") & (drawn["layer"] == "")]
    np.testing.assert_allclose(entropy["value"], table["variance_entropy"])
    layers = drawn[(drawn["metric"] == "variance_entropy") & (drawn["layer"] != "")]
    assert (layers.groupby("layer")["epoch"].nunique() == 4).all()
    assert layers.groupby("layer")["place"].first().between(0, 1).all()
    page = (out / "index.html").read_text("utf-8")
    assert "Over training" in page


def test_one_torn_checkpoint_costs_itself_only(folder: Path, tmp_path: Path) -> None:
    (folder / "checkpoints" / "epoch-7.safetensors").write_bytes(b"torn")
    result = CliRunner().invoke(app, ["audit", "--folder", str(folder), "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert "epoch-7" in result.output
    assert pd.read_csv(tmp_path / "run" / "tables" / "trajectory.csv")["sparsity"].notna().sum() == 4


def test_a_changed_checkpoint_is_read_again(folder: Path, tmp_path: Path) -> None:
    catalog = read_trajectory(folder, "bundled:resnet_strided").catalog
    assert extract(catalog, tmp_path / "run").reused == 0
    network = build("resnet_strided")
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(weights, folder / "checkpoints" / "epoch-2.safetensors")
    assert extract(catalog, tmp_path / "run").reused == 3
    with DumpReader(tmp_path / "run" / "dumps" / "epoch-2.h5") as dump:
        group = dump.lens("filters")
        first = group.names()[0]
        np.testing.assert_array_equal(group.read(first), weights[f"{first}.weight"].numpy())


def test_a_catalog_without_epochs_has_neither_table_nor_figure(folder: Path, tmp_path: Path) -> None:
    catalog = read_trajectory(folder).catalog
    plain = Catalog("plain", tuple(e.model_copy(update={"epoch": None}) for e in catalog), catalog.folder)
    extract(plain, tmp_path / "run")
    analyze(tmp_path / "run")
    run = read_run(tmp_path / "run")
    figures = [figure for figure in all_figures() if figure.name.endswith("_trajectory")]
    assert len(figures) >= 5
    assert all(figure.draw(run) is None for figure in figures)
    report(tmp_path / "run")
    assert not (tmp_path / "run" / "tables" / "trajectory.csv").exists()


@pytest.mark.parametrize(
    "words", [["--folder", ".", "--leaderboard", "cifar10-linf"], ["--arch", "timm:resnet18"], ["--eps", "8/255"]]
)
def test_options_that_do_not_go_together_are_refused(words: list[str]) -> None:
    result = CliRunner().invoke(app, ["audit", *words])
    assert isinstance(result.exception, InputError)
    assert "--folder" in str(result.exception)


def checkpoints(place: Path, *epochs: int) -> None:
    place.mkdir(parents=True)
    for epoch in epochs:
        save_file({"conv.weight": torch.zeros(1, 1, 3, 3)}, place / f"epoch-{epoch}.safetensors")


def test_each_folder_of_checkpoints_is_a_training(tmp_path: Path) -> None:
    checkpoints(tmp_path / "pgd" / "checkpoints", 1, 2, 10)
    checkpoints(tmp_path / "fgsm", 1, 2)
    checkpoints(tmp_path / "fgsm" / "older", 1)
    catalog = read_trajectory(tmp_path, "bundled:resnet_strided").catalog
    assert [(entry.training, entry.epoch) for entry in catalog] == [
        *(("fgsm", epoch) for epoch in (1, 2)),
        *(("pgd", epoch) for epoch in (1, 2, 10)),
    ]
    assert catalog["pgd-epoch-2"].source == "bundled:resnet_strided?weights=pgd/checkpoints/epoch-2.safetensors"
    alone = read_trajectory(tmp_path / "pgd").catalog
    assert [(entry.model_id, entry.training) for entry in alone] == [(f"epoch-{n}", "") for n in (1, 2, 10)]


def trainings(*rows: tuple[str, str, str, int, float]) -> RunData:
    """A run of checkpoints (id, source, training, epoch, robust accuracy) whose other score is the epoch."""
    entries = [Entry(model_id=i, source=source, training=name, epoch=e) for i, source, name, e, _ in rows]
    scores = as_table([
        {"model_id": i, "lens": "robustness", "metric": metric, "value": value}
        for i, _, _, e, accuracy in rows
        for metric, value in (("robust_accuracy", accuracy), ("clean_loss", float(e)))
    ])  # fmt: skip
    return RunData(Path("nowhere"), Catalog("two", tuple(entries), Path()), scores, pd.DataFrame())


COLLAPSING = [0.2, 0.4, 0.39, 0.01, 0.0]
HEALTHY = [0.2, 0.3, 0.35, 0.3, 0.31]


@pytest.mark.parametrize("named", [True, False], ids=["named", "by folder"])
def test_two_trainings_are_two_lines_and_the_collapse_is_marked(named: bool) -> None:
    rows = [
        (f"{name}{e}", f"epoch-{name}-{e}.pt" if named else f"{name}/epoch-{e}.pt", name * named, e, accuracy)
        for e in range(5)  # epoch by epoch, as a table sorted by epoch has them
        for name, accuracy in (("fgsm", COLLAPSING[e]), ("pgd", HEALTHY[e]))
    ]  # fmt: skip
    run = trainings(*rows)
    assert collapses(run) == {"fgsm": 3}
    drawing = trajectory_figure("robustness").draw(run)
    assert drawing is not None
    axis = next(a for a in drawing.figure.axes if "Robust accuracy" in a.get_title(loc="left"))
    lines = {str(line.get_label()): line for line in axis.get_lines()}
    for name, accuracy in (("fgsm", COLLAPSING), ("pgd", HEALTHY)):
        np.testing.assert_allclose(np.asarray(lines[name].get_xdata()), range(5))
        np.testing.assert_allclose(np.asarray(lines[name].get_ydata()), np.array(accuracy))
    assert "10 checkpoints of 2 trainings, a line each, epoch 0 to 4" in drawing.caption
    assert "first below half of its best so far, fgsm (epoch 3)" in drawing.caption
    table = trajectory_table(run, run.models).frame
    assert table["training"].tolist() == ["fgsm"] * 5 + ["pgd"] * 5
    assert table["epoch"].tolist() == [*range(5), *range(5)]


def test_one_training_without_robust_accuracy_says_that_collapses_are_not_marked() -> None:
    run = trainings(*[(f"e{e}", f"epoch-{e}.pt", "", e, float("nan")) for e in range(3)])
    assert collapses(run) is None
    drawing = trajectory_figure("robustness").draw(run)
    assert drawing is not None
    assert "3 checkpoints of one training" in drawing.caption
    assert "Collapses are not marked: robust accuracy was not measured." in drawing.caption


def test_a_training_that_never_was_robust_does_not_collapse() -> None:
    run = trainings(*[(f"e{e}", f"epoch-{e}.pt", "", e, accuracy) for e, accuracy in enumerate([0.05, 0.02, 0.0])])
    assert collapses(run) == {}


def test_two_checkpoints_of_one_epoch_in_one_training_are_refused() -> None:
    rows = [(f"{name}{e}", f"{name}-{e}.pt", "", e, 0.5) for e in range(2) for name in ("fgsm", "pgd")]
    with pytest.raises(ReportError, match=r"fgsm0 and pgd0 are both of epoch 0 of one training: say in .* `training`"):
        trajectory_figure("robustness").draw(trainings(*rows))
