"""`run.toml`: every option of a run in a file, which repeats it bit for bit."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
from safetensors.torch import save_file
from small_zoo import make_zoo, weights
from typer.testing import CliRunner

import filterlens
from filterlens.cli.app import app
from filterlens.commands.plan import plan
from filterlens.errors import InputError
from filterlens.lens import RunSettings, all_lenses
from filterlens.runs.config import RunConfig


def lens_options(config: RunConfig, lens: str) -> Any:
    """Options of a lens's own class, which only the lens knows."""
    return config.lenses[lens]


def scores(folder: Path) -> pd.DataFrame:
    return filterlens.analyze(folder)


def written(folder: Path, **tables: object) -> Path:
    path = folder / "mine.toml"
    path.write_text(tomli_w.dumps(tables))
    return path


def run(*words: str | Path) -> None:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output if done.exception is None else done.exception


def test_a_run_repeated_from_its_file_gives_the_same_scores_bit_for_bit(tmp_path: Path) -> None:
    words = ["--lens", "filters,downsampling,robustness", "-n", "6", "--seed", "3", "--batch-size", "4", "--fast"]
    first, second = tmp_path / "first", tmp_path / "second"
    run("extract", "-l", "fonts-linf", "-m", "vgg_maxpool-pgd-s0", *words, "-o", first)
    run("extract", "--config", first / "run.toml", "-o", second)
    assert (first / "run.toml").read_bytes() == (second / "run.toml").read_bytes()
    pd.testing.assert_frame_equal(scores(first), scores(second), check_exact=True)
    assert set(scores(first)["lens"]) == {"filters", "downsampling", "robustness"}
    config = RunConfig.read(first / "run.toml")
    assert (config.settings.seed, config.settings.batch_size) == (3, 4)
    assert lens_options(config, "robustness").images == 6


def test_every_option_of_every_lens_is_written_and_read_back(tmp_path: Path) -> None:
    lenses = {name: lens.options.fast() for name, lens in all_lenses().items()}
    settings = RunSettings(seed=7, data="fonts", fonts=tmp_path, offline=True)
    config = RunConfig(leaderboard="fonts-linf", models=("a*", "b"), lenses=lenses, settings=settings)
    config.write(tmp_path / "run.toml", {"torch": "2"})
    assert RunConfig.read(tmp_path / "run.toml") == config
    content = tomllib.loads((tmp_path / "run.toml").read_text())
    assert content["lenses"]["manifold"]["eta"] == 0.3
    assert content["versions"] == {"torch": "2"}


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        run={"leaderboard": "cifar10-linf", "seed": 5, "models": ["Wong*"]},
        lenses={"manifold": {"eta": 0.2, "steps": 7, "images": 9}},
    )
    from_file = plan(path, {})
    options = lens_options(from_file.config, "manifold")
    assert (options.eta, options.steps, options.images, options.restarts) == (0.2, 7, 9, 5)
    assert from_file.config.settings.seed == 5
    over = plan(path, {"leaderboard": "fonts-linf", "models": ("vgg*",)}, settings={"seed": 6}, options={"images": 4})
    assert over.config.settings.seed == 6
    assert (lens_options(over.config, "manifold").images, lens_options(over.config, "manifold").steps) == (4, 7)
    assert {entry.model_id.split("_")[0] for entry in over.catalog} == {"vgg"}


def test_a_run_from_python_repeats_from_its_file_too(tmp_path: Path) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    filterlens.extract(zoo, tmp_path / "first", kernel="all")
    run("extract", "-c", tmp_path / "first" / "run.toml", "-o", tmp_path / "second")
    pd.testing.assert_frame_equal(scores(tmp_path / "first"), scores(tmp_path / "second"), check_exact=True)
    config = RunConfig.read(tmp_path / "second" / "run.toml")
    assert lens_options(config, "filters").kernel == "all"


def test_a_training_repeats_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    for epoch in (1, 2):
        save_file(weights(epoch), tmp_path / "training" / f"epoch-{epoch}.safetensors")
    run("extract", "--folder", tmp_path / "training", "-o", tmp_path / "first")
    run("extract", "--config", tmp_path / "first" / "run.toml", "-o", tmp_path / "second")
    pd.testing.assert_frame_equal(scores(tmp_path / "first"), scores(tmp_path / "second"), check_exact=True)
    assert scores(tmp_path / "second")["model_id"].nunique() == 2


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"runs": {}}, r"no table is called 'runs'; there are \[run\], \[lenses.NAME\], \[content\] and \[versions\]"),
        ({"run": {"sed": 1}}, r"\[run\] has no 'sed'; it takes .*seed"),
        ({"run": 3}, r"\[run\] is expected to be a table, got 3"),
        ({"run": {"seed": "one"}}, r"\[run\] seed: input should be a valid integer, got 'one'"),
        ({"run": {"seed": True}}, r"\[run\] seed: input should be a valid integer, got True"),
        ({"run": {"leaderboard": 3}}, r"\[run\] leaderboard: input should be a valid string, got 3"),
        ({"run": {"models": "Wong*"}}, r"\[run\] models: input should be a valid array, got 'Wong\*'"),
        ({"run": {"models": [3]}}, r"\[run\] models: input should be a valid string, got \[3\]"),
        ({"run": {"batch_size": 0}}, r"\[run\] batch_size: expected at least 1, got 0"),
        ({"run": {"fonts": 3}}, r"\[run\] fonts: input should be a valid string, got 3"),
        ({"lenses": {"filter": {}}}, "no lens is called 'filter'"),
        ({"lenses": {"downsampling": {"images": 0}}}, r"\[lenses.downsampling\] images: expected at least 1, got 0"),
        ({"lenses": {"robustness": {"images": -1}}}, r"\[lenses.robustness\] images: expected at least 1, got -1"),
        ({"lenses": {"filters": 3}}, r"\[lenses.filters\] is expected to be a table, got 3"),
        ({"lenses": {"filters": {"kernels": "3x3"}}}, r"\[lenses.filters\] has no 'kernels'; it takes .*kernel"),
        ({"lenses": {"manifold": {"eta": "wide"}}}, r"\[lenses.manifold\] eta: .* valid number, got 'wide'"),
        ({"lenses": {"manifold": {"preset": "slow"}}}, r"preset: input should be 'paper' or 'fast', got 'slow'"),
        ({"run": {"trust_pickle": True}}, "trust_pickle is not taken from a file: give --trust-pickle on the command"),
        ({"run": {"allow_code": True}}, "allow_code is not taken from a file: give --allow-code on the command line"),
    ],
)  # fmt: skip
def test_what_is_no_option_is_named_with_table_and_key(tables: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"mine.toml: .*{said}|{said}"):
        RunConfig.read(written(tmp_path, **tables))


@pytest.mark.parametrize("content", [b"[run", b"\xff\xfe", None])
def test_what_is_no_toml_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a run's configuration"):
        RunConfig.read(path)


def test_permission_to_run_code_is_never_written(tmp_path: Path) -> None:
    settings = RunSettings(trust_pickle=True, allow_code=True)
    RunConfig(leaderboard="fonts-linf", settings=settings).write(tmp_path / "run.toml", {})
    assert RunConfig.read(tmp_path / "run.toml").settings == RunSettings()


CODE = "from pathlib import Path\nPath({marker!r}).write_text('ran')\ndef make(): return None\n"


@pytest.mark.parametrize("what", ["manifold", "arch"])
def test_a_file_that_names_code_needs_allow_code_on_the_command_line(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker"
    (tmp_path / "training").mkdir()
    for folder in (tmp_path, tmp_path / "training"):  # manifolds are looked up here, networks beside their weights
        (folder / f"stranger_{what}.py").write_text(CODE.format(marker=str(marker)))
    named = f"module:stranger_{what}:make"
    save_file(weights(0), tmp_path / "training" / "epoch-1.safetensors")
    path = written(
        tmp_path,
        run={"checkpoints": "training", "arch": named} if what == "arch" else {"leaderboard": "fonts-linf",
             "models": ["vgg_maxpool-normal-s0"], "data": "fonts"},
        lenses={"filters": {}} if what == "arch" else {"manifold": {"images": 2, "manifold": named}},
    )  # fmt: skip
    CliRunner().invoke(app, ["extract", "--config", str(path), "-o", str(tmp_path / "run")])
    assert not marker.exists()
    CliRunner().invoke(app, ["extract", "--config", str(path), "-o", str(tmp_path / "run"), "--allow-code"])
    assert marker.exists()


def test_a_bundled_zoo_is_audited_fast_on_images_that_come_with_it() -> None:
    said = plan(None, {}).config
    assert (said.leaderboard, said.settings.data) == ("cifar10-small", "cifar10-bundled-512")
    assert {"filters", "downsampling", "robustness", "flatness"} <= set(said.lenses)
    assert not {"manifold", "corruption"} & set(said.lenses)
    assert all(options.is_fast for name, options in said.lenses.items() if name in {"robustness", "flatness"})
    assert plan(None, {}, settings={"data": "mine.npz"}).config.settings.data == "mine.npz"
    assert "manifold" in plan(None, {"leaderboard": "fonts-linf"}).config.lenses
    assert list(plan(None, {"leaderboard": "cifar10-linf"}).config.lenses) == ["filters"]
