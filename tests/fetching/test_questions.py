"""Every command of docs/questions.md, run as it stands there: what it says, and how it ends."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from fetching.conftest import Write
from loaders.range_server import RangeServer
from report.synthetic import score_rows, write_run, zoo
from torch import nn
from typer.testing import CliRunner, Result

import filterlens
from filterlens.catalogs import shipped_folder
from filterlens.cli.app import app
from filterlens.errors import FilterlensError

PAGE = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
COMMANDS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^\$ filterlens ([^\n]+)$", PAGE, re.MULTILINE | re.DOTALL))


def answer(question: str, *more: str) -> Result:
    return CliRunner().invoke(app, [*shlex.split(COMMANDS[question]), *more], env={"COLUMNS": "200"})


def said(result: Result) -> str:
    """What the command prints, or would print of the error that ended it."""
    text = str(result.exception) if isinstance(result.exception, FilterlensError) else result.output
    return " ".join(text.split())


class Mixed(nn.Module):
    """Layers of every kind, some of them small."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.lstm = nn.Embedding(64, 32), nn.LSTM(32, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64)
        self.conv1, self.conv2, self.tiny = nn.Conv1d(32, 16, 3), nn.Conv2d(3, 8, 3), nn.Linear(2, 2)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    return tmp_path


def convolutions() -> dict[str, torch.Tensor]:
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3)).state_dict()


def test_every_question_has_a_test() -> None:
    assert list(COMMANDS) == re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    tested = Path(__file__).read_text(encoding="utf-8")
    assert not [question for question in COMMANDS if f'answer("{question}"' not in tested]


def test_a_web_page_is_not_kept(write: Write, server: RangeServer, folder: Path, cache: Path) -> None:
    shutil.copy(write(2), "mine.csv")
    server.files["/1.safetensors"] = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></html>"
    done = answer("My download is a web page", "--json")
    assert done.exit_code == 1
    rows = {row["model_id"]: row for row in json.loads(done.stdout)}
    assert [rows[name]["status"] for name in ("m0", "m1")] == ["fetched", "failed"]
    assert rows["m1"]["reason"]
    assert [path.name for path in cache.rglob("*.safetensors")] == [Path(rows["m0"]["path"]).name]


def test_a_web_page_is_told(folder: Path) -> None:
    (folder / "download.pt").write_bytes(b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>")
    done = answer("I have such a file already")
    assert "is a web page, not a checkpoint (a download's quota or log-in page)" in said(done)
    assert done.exit_code != 0


def test_a_copied_cache_stands_for_the_host(write: Write, server: RangeServer, folder: Path, cache: Path) -> None:
    filterlens.fetch(write(2))
    shutil.move(cache, folder / "copy")
    server.asked.clear()
    done = answer("I cannot reach the host, but have the files", "--json")
    assert done.exit_code == 0, said(done)
    assert {row["status"] for row in json.loads(done.stdout)} <= {"fetched", "cached"}
    assert server.asked == []


def test_a_name_that_timm_has_dropped_is_said(folder: Path) -> None:
    torch.save(convolutions(), folder / "resnet.pt")
    assert "timm has no model 'tv_resnet18'; near it are resnet18" in said(answer("It needs another timm than I have"))


def test_prefixes_are_taken_off(folder: Path) -> None:
    weights = convolutions()
    torch.save({"state_dict": {f"module.{name}": weight for name, weight in weights.items()}}, folder / "parallel.pt")
    torch.save(weights, folder / "gpu.pt")
    found = answer("Missing key(s) in state_dict", "--format", "csv").stdout
    assert len(found.splitlines()) > 3
    assert found == answer("It was saved on a GPU and I have none", "--format", "csv").stdout


def test_weights_of_a_gpu_are_read_without_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(convolutions(), folder / "gpu.pt")
    assert b"cuda:0" in (folder / "gpu.pt").read_bytes()
    done = answer("It was saved on a GPU and I have none", "--json")
    assert done.exit_code == 0, said(done)
    assert len({row["layer"] for row in json.loads(done.stdout)["layers"]}) == 3


def test_a_wrong_normalisation_costs_accuracy(folder: Path) -> None:
    shutil.copy(shipped_folder() / "fonts-linf" / "vgg_maxpool-pgd-s0.safetensors", folder / "model.safetensors")
    question = "My accuracy is far too low"

    def accuracy(result: Result) -> float:
        assert result.exit_code == 0, said(result)
        rows = json.loads(result.stdout)["layers"]
        return next(float(row["value"]) for row in rows if row["metric"] == "clean_accuracy")

    wrong = accuracy(answer("My accuracy is far too low", "--json"))  # this network wants images as they are
    right = accuracy(CliRunner().invoke(app, [*shlex.split(COMMANDS[question].partition(" --mean")[0]), "--json"]))
    assert right > 0.9
    assert wrong < 0.5


def test_ids_are_listed() -> None:
    assert "Xu2024MIMIR_Swin-L" in said(answer("KeyError: what is the model called?"))


def test_a_table_is_printed_of_a_finished_run(folder: Path) -> None:
    """Without torch too: tests/test_install.py."""
    models = zoo(8)
    write_run(folder / "run", models, score_rows(models, 6))
    assert r"\begin{tabular}" in said(answer("Must I install PyTorch to look at results?"))


def test_no_layer_is_left_out_for_its_kind_or_size(folder: Path) -> None:
    torch.save(Mixed().state_dict(), folder / "mixed.pt")
    done = answer("All layers are skipped, or mine is not among them", "--json")
    assert done.exit_code == 0, said(done)
    layers = {row["layer"] for row in json.loads(done.stdout)["layers"]}
    matrices = [name for name, weight in Mixed().state_dict().items() if weight.dim() > 1]
    assert len(layers) == len(matrices) + 2, "query, key and value of attention apart"
    assert {"tiny", "conv1", "emb"} <= layers


def test_a_file_of_weights_needs_no_network(folder: Path) -> None:
    torch.save(convolutions(), folder / "adapter_model.bin")
    done = answer("It does not know my file's framework")
    assert done.exit_code == 0, said(done)
    assert "Power-law α" in said(done)


def test_alpha_is_explained_with_its_pitfalls() -> None:
    text = said(answer("What does alpha mean, and why is it huge?"))
    assert "Read power_law_distance beside it" in text
    assert "Not defined below 20 values" in text
