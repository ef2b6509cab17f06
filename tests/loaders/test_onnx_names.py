"""Names in ONNX files are only ever names: none is compiled, run, imported, opened or connected to."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loaders import onnx_payloads
from loaders.onnx_payloads import NAMES, PLACES, small_model
from onnx import helper
from typer.testing import CliRunner

from filterlens.catalogs import Entry
from filterlens.cli.app import app
from filterlens.errors import CheckpointError
from filterlens.loaders import load_model
from filterlens.loaders.onnx_names import layer_names, with_generated_names
from filterlens.tracing.depth import trace


def _strings(message: object) -> list[str]:
    """Every text in a protobuf message, by the message's own description."""
    found: list[str] = []
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        values = [value] if not hasattr(value, "add") and not isinstance(value, list) else value
        if field.type == field.TYPE_STRING:
            found += [value] if isinstance(value, str) else list(value)
        elif field.type == field.TYPE_MESSAGE:
            for inner in values:
                found += _strings(inner)
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What one child process made of every payload in every place."""
    folder = tmp_path_factory.mktemp("payloads")
    (folder / "control.onnx").write_bytes(small_model().SerializeToString())
    for number, name in enumerate(NAMES):
        for place in PLACES:
            (folder / f"{number:02}-{place}.onnx").write_bytes(small_model(**{place: name}).SerializeToString())
        everywhere = small_model(**dict.fromkeys(["node", "weight", "graph", "value_info"], name))
        (folder / f"{number:02}-everywhere.onnx").write_bytes(everywhere.SerializeToString())
    (folder / "zz-control.onnx").write_bytes(small_model().SerializeToString())
    done = subprocess.run(
        [sys.executable, onnx_payloads.__file__, str(folder)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not [path for path in folder.iterdir() if path.suffix != ".onnx"]
    return {line["file"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_no_name_is_run_in_any_place(outcomes: dict[str, dict[str, object]]) -> None:
    assert len(NAMES) >= 60
    assert len(outcomes) == len(NAMES) * (len(PLACES) + 1) + 2
    assert not {file: line["seen"] for file, line in outcomes.items() if line["seen"]}


def test_whatever_the_names_the_network_gives_the_same_numbers(outcomes: dict[str, dict[str, object]]) -> None:
    expected = outcomes["control"]["said"]
    networks = {file: line["said"] for file, line in outcomes.items() if line["kind"] == "network"}
    assert all(said == expected for said in networks.values())
    assert len(networks) > 400
    assert outcomes["zz-control"]["said"] == expected


def test_what_is_refused_is_told_in_one_printable_line(outcomes: dict[str, dict[str, object]]) -> None:
    for line in outcomes.values():
        if line["kind"] != "network":
            said = str(line["said"])
            assert said.isprintable(), line
            assert "\n" not in said, line
            assert len(said) < 600, line


@pytest.mark.parametrize("command", ["inspect", "audit"])
def test_the_initialiser_that_ran_a_command_is_a_layers_name(command: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = list(f"open({str(marker)!r}, 'w').write('ran')".encode())
    name = f'conv")\rexec(bytes({code}))\rdef zz(self,x):\r    return self#.weight'
    model = small_model(weight=name, node="")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "zoo.csv").write_text("model_id,source\nevil,m.onnx\n")
    arguments = {
        "inspect": ["inspect", str(tmp_path / "m.onnx")],
        "audit": ["audit", "-l", str(tmp_path / "zoo.csv"), "--out", str(tmp_path / "run")],
    }[command]
    result = CliRunner().invoke(app, arguments)
    assert not marker.exists()
    assert result.exit_code == 0, result.output


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.fixed_dictionaries(
        {}, optional={place: st.text(st.characters(codec="utf-8"), max_size=40) for place in PLACES}
    )
)
def test_any_text_is_a_name(names: dict[str, str], tmp_path: Path) -> None:
    model = small_model(**names)
    layers = layer_names(model.graph)
    assert len(set(layers)) == len(layers)
    assert all(layers)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    loaded = load_model(Entry(model_id="m", source="m.onnx"), tmp_path)
    assert isinstance(loaded.weights, dict)
    try:
        plain = with_generated_names(model)
    except CheckpointError:
        return
    texts = {text for text in _strings(plain) if text}
    assert texts <= {
        "graph",
        "Conv",
        "Relu",
        "GlobalAveragePool",
        *(f"{k}{n}" for k in ("value", "node") for n in range(9)),
    }


@pytest.mark.parametrize("place", ["node", "weight", "middle", "op", "domain"])
def test_a_name_that_is_no_text_is_refused(place: str, tmp_path: Path) -> None:
    data = small_model(**{place: "NAMENAME"}).SerializeToString().replace(b"NAMENAME", b"\xed\xa0\x80a\xff\xfe\x00\x80")
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(CheckpointError, match="which is no text"):
        load_model(Entry(model_id="m", source="m.onnx"), tmp_path)


def test_a_name_as_long_as_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(small_model(node="n" * 1_000_000).SerializeToString())
    with pytest.raises(CheckpointError, match="holds a name of 1,000,000 characters") as caught:
        load_model(Entry(model_id="m", source="m.onnx"), tmp_path)
    assert len(str(caught.value)) < 400


def test_layers_that_share_a_name_are_numbered() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], name=name) for name in ("a", "a_2", "a", "b", "a", "a_2")]
    assert layer_names(helper.make_graph(nodes, "g", [], [])) == ["a", "a_2", "a_3", "b", "a_4", "a_2_2"]


def test_ordinary_names_stay_and_the_trace_knows_them(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(small_model(weight="layer1.0.conv1.weight").SerializeToString())
    model = load_model(Entry(model_id="m", source="m.onnx"), tmp_path)
    assert list(model.weights) == ["layer1.0.conv1.weight"]
    assert model.network is not None
    assert dict(model.network.named_modules()).keys() >= {"layer1.0.conv1", "relu", "pool"}
    assert trace(model.network, torch.ones(1, 3, 8, 8)).places == {"layer1.0.conv1": 0}


def test_no_source_code_is_made_for_a_network() -> None:
    folder = Path(onnx_payloads.__file__).parents[2] / "filterlens" / "loaders"
    for path in folder.glob("onnx*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            name.name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) for name in node.names
        }
        assert not imported & {"fx", "convert", "GraphModule"}, path
