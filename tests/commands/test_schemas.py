"""What is written for machines is as its published schema says, and what earlier versions wrote still is."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
from scripts import load_script
from small_zoo import make_zoo
from typer.testing import CliRunner

import filterlens
from filterlens.catalogs import catalog_names, load_catalog, read_catalog
from filterlens.cli.app import app
from filterlens.commands.listing import LISTS
from filterlens.commands.schemas import SCHEMAS
from filterlens.errors import InputError
from filterlens.lens import all_lenses
from filterlens.loaders import schemes

ROOT = Path(__file__).parents[2]
PGD = "fonts-linf/preact_resnet-pgd-s0"
EARLIER = json.loads((Path(__file__).parent / "earlier_outputs.json").read_text(encoding="utf-8"))


def run(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output if done.exception is None else done.exception
    return done.stdout


def validate(content: Any, name: str) -> None:
    found = filterlens.schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    jsonschema.Draft202012Validator(found).validate(content)


def refused(content: Any, name: str) -> bool:
    return not jsonschema.Draft202012Validator(filterlens.schema(name)).is_valid(content)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    zoo = make_zoo(folder / "zoo")
    (folder / "zoo" / "net1-normal.pt").write_bytes(b"none")
    filterlens.audit(zoo, folder / "run", lenses=["filters", "spectra"])
    return folder / "run"


def test_a_runs_files_are_as_their_schemas_say(audited: Path) -> None:
    scores = pd.read_parquet(audited / "scores.parquet").astype(object)
    validate(json.loads(scores.where(scores.notna(), None).to_json(orient="records")), "scores")
    lines = (audited / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        validate(json.loads(line), "ledger")
    assert {json.loads(line)["status"] for line in lines} == {"ok", "failed"}
    validate(tomllib.loads((audited / "run.toml").read_text(encoding="utf-8")), "run")


def test_every_option_of_every_lens_is_in_the_schema_of_run_toml(tmp_path: Path) -> None:
    from filterlens.runs.config import RunConfig

    for preset in ("paper", "fast"):
        lenses = {lens.name: getattr(lens.options, preset)() for lens in all_lenses().values()}
        RunConfig(leaderboard="a", lenses=lenses).write(tmp_path / "run.toml", {})
        content = tomllib.loads((tmp_path / "run.toml").read_text(encoding="utf-8"))
        validate(content, "run")
    for name, table in (("filters", {"no_option": 1}), ("no_lens", {}), ("filters", {"kernel": 3})):
        assert refused({"lenses": {name: table}}, "run")
    assert refused({"run": {"trust_pickle": True}}, "run")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--max-sparsity", "0.9"], 0),
        (["--min-layer-orthogonality", "0.99", "--against", "bundled"], 1),
        (["--max-sparsity", "inf"], 0),
    ],
)
def test_what_check_prints_is_as_its_schema_says(words: list[str], code: int) -> None:
    validate(json.loads(run("check", PGD, *words, "--json", code=code)), "check")


def test_what_check_prints_of_what_cannot_be_read_is_too(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"none")
    found = json.loads(run("check", tmp_path / "a.pt", "--max-sparsity", "1", "--json", code=2))
    validate(found, "check")
    assert [row["name"] for row in found] == ["error"]


@pytest.mark.parametrize("name", catalog_names())
def test_a_catalog_that_is_printed_is_as_its_schema_says_and_a_catalog_again(name: str, tmp_path: Path) -> None:
    validate(json.loads(run("catalogs", name, "--json")), "catalog")
    (tmp_path / "mine.csv").write_text(run("catalogs", name, "--format", "csv"), encoding="utf-8")
    assert read_catalog(tmp_path / "mine.csv").entries == load_catalog(name).entries


def test_a_printed_catalog_finds_its_files_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = make_zoo(tmp_path / "zoo")
    rows = zoo.read_text().replace("net1-robust.pt", "bundled:preact_resnet?weights=net1-robust.pt")
    zoo.write_text(rows.replace("net1-normal.pt", "gone.pt"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("mine.csv").write_text(run("catalogs", zoo, "--format", "csv"), encoding="utf-8")
    found = {row["model_id"]: row["source"] for row in csv.DictReader(io.StringIO(Path("mine.csv").read_text()))}
    assert found == {
        "net0-robust": f"{tmp_path}/zoo/net0-robust.pt",
        "net0-normal": f"{tmp_path}/zoo/net0-normal.pt",
        "net1-robust": f"bundled:preact_resnet?weights={tmp_path}/zoo/net1-robust.pt",
        "net1-normal": "gone.pt",
    }
    run("extract", "-l", "mine.csv", "-o", "run", "--models", "net0-*")


def test_catalogs_with_every_column_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "zoo.csv"
    path.write_text(
        "model_id,source,robust,eps,mean,std,epoch,training,paper\n"
        '"a, ""b""|c",timm:resnet18,,8/255,0.5 0.25 0.1,1 1 0.3,3,t,"=1+1"\n'
        "b,timm:resnet18,false,,0,1,,,\n",
        encoding="utf-8",
    )
    validate(json.loads(run("catalogs", path, "--json")), "catalog")
    (tmp_path / "again.csv").write_text(run("catalogs", path, "--format", "csv"), encoding="utf-8")
    assert read_catalog(tmp_path / "again.csv").entries == read_catalog(path).entries


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_was_written_before_is_still_as_the_schema_of_that_version_says(name: str) -> None:
    version = filterlens.schema(name)["$id"].rpartition(":")[2]
    validate(EARLIER[f"{name}-{version}"], name)


def test_the_published_schemas_are_up_to_date_and_described() -> None:
    made = load_script("docs/make_reference.py").schemas()
    assert {path.name: path.read_text("utf-8") for path in (ROOT / "docs" / "schemas").iterdir()} == made
    for name in SCHEMAS:
        found = filterlens.schema(name)
        row = found.get("items", found)
        for field, facts in row["properties"].items():
            assert name == "run" or facts.get("description"), (name, field)
        assert f"[`{name}-{SCHEMAS[name]}.json`]" in (ROOT / "docs" / "schemas.md").read_text("utf-8")


@pytest.mark.parametrize("name", LISTS)
def test_lists_come_as_tables_and_as_json(name: str) -> None:
    rows = json.loads(run("ls", name, "--json"))
    assert len(rows) == len(filterlens.ls(name)) > 3
    assert rows[0][next(iter(rows[0]))] in run("ls", name)


def test_lists_hold_what_there_is() -> None:
    assert list(filterlens.ls("lenses")["lens"]) == list(all_lenses())
    assert {text.rstrip(":") for text in filterlens.ls("sources")["source"]} == {*schemes(), "a path"} - {"file"}
    assert list(filterlens.ls("schemas")["schema"]) == list(SCHEMAS)
    for make, said in ((filterlens.ls, "there is no list of 'x'"), (filterlens.schema, "there is no schema 'x'")):
        with pytest.raises(InputError, match=said):
            make("x")


def test_a_schema_is_printed_as_it_is() -> None:
    assert json.loads(run("schema", "scores")) == filterlens.schema("scores")
    with pytest.raises(InputError, match="there is no schema 'x'; there are catalog, check"):
        CliRunner().invoke(app, ["schema", "x"], catch_exceptions=False)
