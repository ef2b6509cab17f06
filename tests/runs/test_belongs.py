"""A folder that holds a run takes what belongs to it; another run is refused, added or put in its place on request."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_zoo import make_zoo
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.errors import CatalogError, FilterlensError, InputError
from filterlens.lens import RunSettings
from filterlens.report import read_run, write_report
from filterlens.report.cautions import mixed_options, read_settings
from filterlens.runs.config import RunConfig
from filterlens.score import read_scores


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return make_zoo(tmp_path / "zoo")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A catalog of other models under other names."""
    path = make_zoo(tmp_path / "other", pairs=3)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line for line in lines[1:] if line.startswith("net2"))]) + "\n")
    return path


def images(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    np.savez(path, images=pixels, labels=np.zeros(6, int))
    return path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def models(folder: Path) -> set[str]:
    return set(filterlens.analyze(folder)["model_id"])


def test_another_catalog_is_refused_and_nothing_changes(zoo: Path, other: Path, tmp_path: Path) -> None:
    filterlens.audit(zoo, tmp_path / "run")
    before = contents(tmp_path / "run")
    said = (
        r"run holds another run: 4 of its 4 models \(net0-robust, net0-normal, net1-robust, …\) are not in zoo: give "
    )
    with pytest.raises(InputError, match=f"{said}--extend to add to it, --replace to start anew, or choose another"):
        filterlens.extract(other, tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_another_catalog_is_added_where_the_user_says_so(zoo: Path, other: Path, tmp_path: Path) -> None:
    filterlens.extract(zoo, tmp_path / "run")
    dump = tmp_path / "run" / "dumps" / "net0-robust.h5"
    before = dump.read_bytes()
    assert filterlens.extract(other, tmp_path / "run", extend=True).count("ok") == 2
    assert dump.read_bytes() == before
    assert len(models(tmp_path / "run")) == 6
    run = read_run(tmp_path / "run")
    assert not mixed_options(run, read_settings(run))
    assert filterlens.extract(other, tmp_path / "run", extend=True).reused == 2


def test_what_belongs_to_a_run_goes_on_with_it(zoo: Path, tmp_path: Path) -> None:
    whole = zoo.read_text()
    lines = whole.splitlines()
    zoo.write_text("\n".join(lines[:3]) + "\n")
    run = tmp_path / "run"
    assert filterlens.extract(zoo, run).reused == 0
    zoo.write_text(whole)  # two models more
    assert filterlens.extract(zoo, run).reused == 2
    assert filterlens.extract(zoo, run, jobs=2).reused == 4
    assert filterlens.extract(zoo, run, models=["net0-*"]).reused == 2
    assert filterlens.extract(zoo, run, settings=RunSettings(seed=3, batch_size=5)).reused == 4  # no image is looked at
    data = str(images(tmp_path / "images.npz", 0))
    outcome = filterlens.extract(zoo, run, lenses=["downsampling"], settings=RunSettings(data=data))  # another lens
    assert (outcome.reused, outcome.count("skipped")) == (0, 4)
    config = RunConfig.read(run / "run.toml")
    assert set(config.lenses) == {"filters", "downsampling"}
    assert config.models == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kernel": "all"}, r"filters: kernel was 'auto', not 'all'"),
        ({"images": 3}, "downsampling: images was 2, not 3"),
        ({"settings": {"seed": 1}}, "seed was 0, not 1"),
        ({"settings": {"data": "b.npz"}}, r"images were those of .*a\.npz, not of .*b\.npz"),
    ],
)
def test_other_options_are_refused_and_named(zoo: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    a, _ = images(tmp_path / "a.npz", 0), images(tmp_path / "b.npz", 1)
    settings: dict[str, Any] = {"data": str(a)}
    how: dict[str, Any] = {"lenses": ["filters", "downsampling"], "images": 2}
    filterlens.extract(zoo, tmp_path / "run", settings=RunSettings(**settings), **how)
    before = contents(tmp_path / "run")
    new = dict(change.pop("settings", {}))
    new = settings | ({"data": str(tmp_path / new["data"])} if "data" in new else new)
    if change.get("fast"):
        filterlens.extract(
            zoo, tmp_path / "run", settings=RunSettings(**new), **how, **change
        )  # they have no fast ones
        return
    with pytest.raises(InputError, match=f"holds another run: {said}: give --extend"):
        filterlens.extract(zoo, tmp_path / "run", settings=RunSettings(**new), **(how | change))
    assert contents(tmp_path / "run") == before


def test_rows_of_different_options_are_said_everywhere(
    zoo: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        import_module("filterlens.commands.report"), "all_figures", list
    )  # they take long and say nothing of it
    run = tmp_path / "run"
    filterlens.extract(zoo, run)
    filterlens.analyze(run)
    old = read_scores(run / "scores.parquet")
    words = ["audit", "-l", str(other), "-o", str(run), "--kernel", "all", "--extend"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = "Different options (filters lens): kernel: auto in 4, all in 2."
    assert f"caution {said}" in done.output
    assert done.output.index("caution") < done.output.index("robust against normal")
    page = (run / "index.html").read_text(encoding="utf-8")
    assert page.count(said) == 2  # above everything, and where it says how the run was made; each file repeats it
    assert said in (run / "tables" / "cautions.csv").read_text(encoding="utf-8")
    for name in ("models", "robust_vs_normal"):
        assert said in (run / "tables" / f"{name}.md").read_text(encoding="utf-8")
    new = read_scores(run / "scores.parquet")
    pd.testing.assert_frame_equal(new[new["model_id"].isin(old["model_id"])].reset_index(drop=True), old)
    plain = CliRunner().invoke(app, [word for word in words if word != "--extend"])
    assert isinstance(plain.exception, InputError)
    assert "4 of its 6 models" in str(plain.exception)


def test_extending_keeps_rows_of_other_options_and_never_those_of_other_weights(zoo: Path, tmp_path: Path) -> None:
    filterlens.extract(zoo, tmp_path / "run")
    assert filterlens.extract(zoo, tmp_path / "run", kernel="all", extend=True).reused == 4
    shutil.copyfile(zoo.parent / "net1-robust.pt", zoo.parent / "net0-robust.pt")
    assert filterlens.extract(zoo, tmp_path / "run", kernel="all", extend=True).reused == 3


@pytest.mark.parametrize("extend", [False, True])
def test_another_model_of_the_same_name_is_refused_always(zoo: Path, tmp_path: Path, extend: bool) -> None:
    filterlens.extract(zoo, tmp_path / "run")
    shutil.copytree(zoo.parent, tmp_path / "copy")
    copy = tmp_path / "copy" / "zoo.csv"
    assert filterlens.extract(copy, tmp_path / "run", extend=extend).reused == 4  # the same under another path
    shutil.copytree(zoo.parent, tmp_path / "third")
    shutil.copyfile(zoo.parent / "net1-robust.pt", tmp_path / "third" / "net0-robust.pt")
    with pytest.raises(CatalogError, match=r"'net0-robust' is net0-robust\.pt, not net0-robust\.pt of zoo: give it"):
        filterlens.extract(tmp_path / "third" / "zoo.csv", tmp_path / "run", extend=extend)
    assert filterlens.extract(tmp_path / "third" / "zoo.csv", tmp_path / "run", replace=True).reused == 0


def test_replacing_starts_anew_and_leaves_what_others_wrote(zoo: Path, other: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    filterlens.extract(zoo, run)
    filterlens.analyze(run)
    write_report(run)
    (run / "figures").mkdir()
    foreign = [run / "notes.txt", run / "dumps" / "mine.h5", run / "tables" / "mine.csv", run / "figures" / "mine.png"]
    for path in foreign:
        path.write_bytes(b"mine")
    filterlens.extract(other, run, kernel="all", replace=True)
    assert models(run) == {"net2-robust", "net2-normal"}
    assert all(path.read_bytes() == b"mine" for path in foreign)
    assert {path.name for path in (run / "dumps").iterdir()} == {"net2-robust.h5", "net2-normal.h5", "mine.h5"}
    filterlens.extract(other, tmp_path / "fresh", kernel="all")
    filterlens.analyze(tmp_path / "fresh")
    pd.testing.assert_frame_equal(
        read_scores(run / "scores.parquet"), read_scores(tmp_path / "fresh" / "scores.parquet")
    )
    ours = {path.relative_to(run) for path in contents(run)} - {path.relative_to(run) for path in foreign}
    assert ours == {path.relative_to(tmp_path / "fresh") for path in contents(tmp_path / "fresh")}


def test_a_catalog_that_lies_in_the_folder_itself_is_never_removed(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo").rename(tmp_path / "zoo" / "catalog.csv")
    text = zoo.read_bytes()
    filterlens.extract(zoo, zoo.parent, replace=True)
    filterlens.extract(zoo, zoo.parent, models=["net0-*"], kernel="all", replace=True)
    assert zoo.read_text().count(".pt") == text.decode().count(".pt")
    assert len(list(zoo.parent.glob("*.pt"))) == 4


def test_wrong_images_are_met_before_a_run_is_removed(zoo: Path, tmp_path: Path) -> None:
    filterlens.extract(zoo, tmp_path / "run")
    before = contents(tmp_path / "run")
    np.savez(tmp_path / "bad.npz", images=np.zeros((4, 32, 32, 3), np.complex64), labels=np.zeros(4, int))
    settings = RunSettings(data=str(tmp_path / "bad.npz"))
    with pytest.raises(InputError, match=r"bad\.npz"):
        filterlens.extract(zoo, tmp_path / "run", lenses=["robustness"], settings=settings, replace=True)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("how", [{}, {"extend": True}])
def test_a_configuration_that_cannot_be_read_is_not_guessed(zoo: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    filterlens.extract(zoo, tmp_path / "run")
    (tmp_path / "run" / "run.toml").write_bytes(b"[run")
    with pytest.raises(InputError, match=r"cannot be read as a run's configuration .*; give --replace to start anew"):
        filterlens.extract(zoo, tmp_path / "run", **how)
    assert filterlens.extract(zoo, tmp_path / "run", replace=True).count("ok") == 4


def test_both_at_once_are_refused(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give one of --extend and --replace"):
        filterlens.extract(zoo, tmp_path / "run", extend=True, replace=True)
    assert not (tmp_path / "run").exists()


def test_the_configuration_is_there_before_the_first_model_and_tells_the_images(zoo: Path, tmp_path: Path) -> None:
    data = images(tmp_path / "a.npz", 0)
    found: list[RunConfig] = []

    def stop(event: object) -> None:
        found.append(RunConfig.read(tmp_path / "run" / "run.toml"))
        raise FilterlensError("stopped")

    how: dict[str, Any] = {"lenses": ["filters", "downsampling"], "settings": RunSettings(data=str(data))}
    with pytest.raises(FilterlensError, match="stopped"):
        filterlens.extract(zoo, tmp_path / "run", listener=stop, **how)
    (digest,) = found[0].content.values()
    assert digest.startswith("npz:")
    moved = shutil.copyfile(data, tmp_path / "b.npz")
    filterlens.extract(zoo, tmp_path / "run", lenses=how["lenses"], settings=RunSettings(data=str(moved)))
    assert RunConfig.read(tmp_path / "run" / "run.toml").content == found[0].content
