"""The first stage under attack: recorded from the network itself, scored and drawn from the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from extracting import chosen, context
from torch import nn

from filterlens.catalogs import Entry, load_catalog
from filterlens.dumps import DumpGroup, DumpReader, DumpWriter
from filterlens.errors import DumpError, InputError
from filterlens.inputs.images import Images
from filterlens.lenses.robustness import extractor
from filterlens.lenses.robustness.analyzer import analyze
from filterlens.lenses.robustness.extractor import extract
from filterlens.lenses.robustness.first_stage import read_stage, relative_change
from filterlens.lenses.robustness.first_stage_figure import draw_first_stage
from filterlens.lenses.robustness.options import RobustnessOptions
from filterlens.loaders import load_model
from filterlens.loaders.model import Classifier, LoadedModel
from filterlens.report.data import RunData, read_run
from filterlens.report.write import write_report

ENTRY = Entry(model_id="small", source="small.pt", threat_model="Linf", eps=0.03)


def small_model(*, mean: float | None = 0.5) -> LoadedModel:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
        nn.Linear(72, 5),
    )  # fmt: skip
    network.get_buffer("1.running_mean").normal_(0, 0.3)
    network.get_buffer("1.running_var").uniform_(0.5, 2)
    channels = None if mean is None else (mean,) * 3
    classifier = Classifier(network, channels, None if mean is None else (0.05,) * 3).eval()
    return LoadedModel("small", "small.pt", "", network.state_dict(), classifier)


def random_images(n: int = 12, size: int = 6) -> Images:
    generator = np.random.default_rng(1)
    return Images("random", generator.random((n, 3, size, size), dtype=np.float32), generator.integers(0, 5, n))


def measured(path: Path, model: LoadedModel, data: Images, entry: Entry = ENTRY) -> DumpGroup:
    with DumpWriter(path, {"model_id": "small"}) as dump:
        options, run = chosen(RobustnessOptions, {"fast": True})
        extract(context(model, entry, data, options, dump.lens("robustness", {}), settings=run))
    return DumpReader(path).lens("robustness")


def test_a_dump_records_what_the_network_itself_puts_out(tmp_path: Path) -> None:
    model = small_model()
    network = model.network
    assert isinstance(network, nn.Sequential)
    group = measured(tmp_path / "a.h5", model, random_images())
    for kind in ("clean", "attacked"):
        images = torch.from_numpy(group.read(f"images_{kind}"))
        with torch.no_grad():
            expected = network[:3]((images - 0.5) / 0.05)
        np.testing.assert_allclose(group.read(f"first_stage_{kind}"), expected.numpy(), atol=1e-5)
    np.testing.assert_array_equal(group.read("first_stage_weight"), network.get_parameter("0.weight").detach().numpy())
    assert group.attributes["first_stage_layer"] == "0"
    assert "batch_norm" in str(group.attributes["first_stage_operations"])
    assert str(group.attributes["first_stage_operations"]).endswith(", relu")


def test_every_filter_has_its_change_and_the_model_their_mean(tmp_path: Path) -> None:
    group = measured(tmp_path / "a.h5", small_model(), random_images())
    clean, attacked = (group.read(f"first_stage_{kind}").astype(np.float64) for kind in ("clean", "attacked"))
    slow = [
        np.linalg.norm(clean[:, j].ravel() - attacked[:, j].ravel()) / np.linalg.norm(clean[:, j].ravel())
        for j in range(8)
    ]
    rows = [row for row in analyze(group) if row["metric"] == "first_stage_change"]
    by_filter = {row["layer"]: row for row in rows if "layer" in row}
    assert list(by_filter) == [f"0 filter {j}" for j in range(8)]
    assert [row["value"] for row in by_filter.values()] == pytest.approx(slow)
    assert {(row["kind"], row["weight"]) for row in by_filter.values()} == {("filter", 0.0)}
    (whole,) = (row for row in rows if "layer" not in row)
    assert whole["value"] == pytest.approx(np.mean(slow))
    assert min(slow) > 0
    assert all("relu on 8 of the images; PGD-20" in str(row["note"]) for row in by_filter.values())


def test_a_filter_that_clean_images_leave_silent_has_no_change(tmp_path: Path) -> None:
    model = small_model()
    assert model.network is not None
    with torch.no_grad():
        model.network.get_parameter("1.bias")[2] = -100
    rows = [row for row in analyze(measured(tmp_path / "a.h5", model, random_images()))
            if row["metric"] == "first_stage_change"]  # fmt: skip
    assert [row["layer"] for row in rows if np.isnan(float(str(row["value"])))] == ["0 filter 2"]
    np.testing.assert_allclose(relative_change(np.ones((1, 2, 3, 3)), 3 * np.ones((1, 2, 3, 3))), 2)


def test_large_maps_are_recorded_of_fewer_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "_STAGE_BYTES", 3 * 2 * 4 * 8 * 36 + 5)  # three images and a little
    group = measured(tmp_path / "a.h5", small_model(), random_images())
    assert group.read("first_stage_clean").shape == group.read("first_stage_attacked").shape == (3, 8, 6, 6)
    assert len(group.read("images_clean")) == 8
    monkeypatch.setattr(extractor, "_STAGE_BYTES", 1)
    assert len(measured(tmp_path / "b.h5", small_model(), random_images()).read("first_stage_clean")) == 1


def test_a_network_without_a_convolution_and_an_old_dump_have_no_first_stage(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(108, 5))
    model = LoadedModel("small", "small.pt", "", network.state_dict(), Classifier(network).eval())
    group = measured(tmp_path / "a.h5", model, random_images())
    assert not [name for name in group.names() if name.startswith("first_stage")]
    assert read_stage(group) is None
    found = {row["metric"] for row in analyze(group)}
    assert "first_stage_change" not in found
    assert "robust_accuracy" in found


def test_records_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with DumpWriter(tmp_path / "a.h5", {"model_id": "a"}) as dump:
        group = dump.lens("robustness", {})
        group.write("first_stage_weight", np.ones((4, 1, 3, 3), dtype=np.float32))
        group.write("first_stage_clean", np.ones((2, 4, 5, 5), dtype=np.float32))
        group.write("first_stage_attacked", np.ones((3, 4, 5, 5), dtype=np.float32))
    with (
        DumpReader(tmp_path / "a.h5") as reader,
        pytest.raises(DumpError, match=r"first stages of shapes \(2, 4, 5, 5\) and \(3, 4, 5, 5\) do not belong to 4"),
    ):
        read_stage(reader.lens("robustness"))


def test_an_onnx_network_and_its_torch_twin_have_the_same_first_stage(tmp_path: Path, realdata: Path) -> None:
    catalog = load_catalog(realdata / "catalog.csv")
    entry = catalog["resnet20-robust"]
    model = load_model(entry, catalog.folder)
    weights = load_model(catalog["resnet20-robust-weights"], catalog.folder).weights
    with np.load(realdata / "cifar10_test_1000.npz") as data:
        pixels = (data["images"][:4].transpose(0, 3, 1, 2) / 255).astype(np.float32)
        images = Images("cifar", pixels, data["labels"][:4])
    group = measured(tmp_path / "a.h5", model, images, entry)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (entry.mean, entry.std))
    norm = {name: weights[f"bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")}
    for kind in ("clean", "attacked"):
        x = (torch.from_numpy(group.read(f"images_{kind}")) - mean) / std
        slow = nn.functional.conv2d(x, weights["conv1.weight"], padding=1)
        slow = nn.functional.batch_norm(
            slow, norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"]
        ).relu()
        np.testing.assert_allclose(group.read(f"first_stage_{kind}"), slow.numpy(), atol=1e-4)
    assert group.attributes["first_stage_layer"] == "conv1"


@pytest.fixture
def run(make_run: Callable[..., Path]) -> RunData:
    return read_run(make_run(8, pictures=True))


def test_the_figure_shows_the_dumps_own_numbers(run: RunData) -> None:
    drawing = draw_first_stage(run)
    assert drawing is not None
    data = drawing.data
    assert list(dict.fromkeys(data["model_id"])) == ["cifar10-robust-0", "cifar10-normal-0"]
    with run.dump("cifar10-robust-0") as reader:
        stage = read_stage(reader.lens("robustness"))
    assert stage is not None
    own = data[data["model_id"] == "cifar10-robust-0"]
    for kind in ("clean", "attacked"):
        shown = own[own["shown"] == kind].pivot_table(index=["filter", "row"], columns="column", values="value")
        np.testing.assert_array_equal(shown.to_numpy().reshape(6, 32, 32), getattr(stage, kind)[0, :6])
    changes = own.drop_duplicates("filter").set_index("filter")["relative_change"]
    np.testing.assert_array_equal(changes.to_numpy(), stage.change[:6])
    maps = data.pivot_table(index=["model_id", "filter", "row", "column"], columns="shown", values="value")
    maps = maps.dropna(subset=["clean"])
    np.testing.assert_allclose(maps["attacked"] - maps["clean"], maps["difference"], atol=1e-12)
    assert "conv2d, batch_norm, relu, 4 images" in drawing.caption


def test_any_pair_can_be_chosen(run: RunData) -> None:
    drawing = draw_first_stage(replace(run, first_stage_pair="cifar100-robust-5"))
    assert drawing is not None
    assert list(dict.fromkeys(drawing.data["model_id"])) == ["cifar100-robust-5", "cifar100-normal-1"]


def test_a_report_draws_the_pair_that_is_asked_for(make_run: Callable[..., Path]) -> None:
    from filterlens.lenses.robustness.figures import FIGURES

    folder = make_run(8, pictures=True)
    write_report(folder, figures=[FIGURES[-1]], first_stage_pair="cifar100-robust-5")
    text = (folder / "figures" / "robustness_first_stage.csv").read_text()
    assert "cifar100-robust-5" in text
    assert "cifar10-robust-0" not in text


@pytest.mark.parametrize("name", ["cifar10-normal-0", "no such model"])
def test_a_pair_that_is_none_is_refused_and_says_which_there_are(make_run: Callable[..., Path], name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' is no robust model of this run .*; there are cifar10-robust-0, "):
        write_report(make_run(8, pictures=True), first_stage_pair=name)


def test_a_pair_without_a_record_is_not_replaced_by_another(make_run: Callable[..., Path]) -> None:
    run = replace(read_run(make_run(4)), first_stage_pair="cifar10-robust-0")
    assert draw_first_stage(read_run(run.folder)) is None
    with pytest.raises(InputError, match="cifar10-robust-0 and of its normal model do not both hold a first stage"):
        draw_first_stage(run)
