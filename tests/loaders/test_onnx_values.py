"""ONNX tensors are the numbers that the file means, and what a graph asks for is counted before it is taken."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from loaders.onnx_payloads import small_model
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from filterlens.catalogs import Entry
from filterlens.errors import CheckpointError
from filterlens.loaders import load_model
from filterlens.loaders.model import LoadedModel
from filterlens.tracing.depth import trace

NARROW = {
    "BFLOAT16": (ml_dtypes.bfloat16, torch.bfloat16),
    "FLOAT8E4M3FN": (ml_dtypes.float8_e4m3fn, torch.float8_e4m3fn),
    "FLOAT8E4M3FNUZ": (ml_dtypes.float8_e4m3fnuz, torch.float8_e4m3fnuz),
    "FLOAT8E5M2": (ml_dtypes.float8_e5m2, torch.float8_e5m2),
    "FLOAT8E5M2FNUZ": (ml_dtypes.float8_e5m2fnuz, torch.float8_e5m2fnuz),
}
WEIGHT = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")


def _load(model: ModelProto, folder: Path) -> LoadedModel:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return load_model(Entry(model_id="m", source="m.onnx"), folder)


def _graph(nodes: list[NodeProto], *tensors: TensorProto, output: str = "y") -> ModelProto:
    info = helper.make_tensor_value_info
    ends = [info("x", TensorProto.FLOAT, [1, 3, 8, 8])], [info(output, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", *ends, [WEIGHT, *tensors])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _after_conv(op: str, inputs: list[str], *tensors: TensorProto, **attributes: Any) -> ModelProto:
    conv = helper.make_node("Conv", ["x", "w"], ["v"])
    return _graph([conv, helper.make_node(op, inputs, ["y"], **attributes)], *tensors)


def _integers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


@pytest.mark.parametrize("field", ["raw_data", "int32_data"])
@pytest.mark.parametrize("kind", NARROW)
def test_narrow_floats_are_read_as_exactly_their_numbers(kind: str, field: str, tmp_path: Path) -> None:
    dtype, torch_dtype = NARROW[kind]
    width = np.dtype(dtype).itemsize
    bits = np.random.default_rng(0).integers(0, 256**width, (4, 3, 3, 3)).astype(f"<u{width}")
    tensor = TensorProto(name="w", data_type=TensorProto.DataType.Value(kind), dims=bits.shape)
    if field == "raw_data":
        tensor.raw_data = bits.tobytes()
    else:
        tensor.int32_data.extend(bits.ravel().tolist())
    model = _after_conv("Relu", ["v"])
    model.graph.initializer[0].CopyFrom(tensor)
    loaded = _load(model, tmp_path)
    weight = next(iter(loaded.weights.values()))
    assert weight.dtype == torch.float32
    np.testing.assert_array_equal(weight.numpy(), bits.view(dtype).astype(np.float32))
    torch.testing.assert_close(
        weight, torch.from_numpy(bits.copy()).view(torch_dtype).float(), rtol=0, atol=0, equal_nan=True
    )
    assert loaded.classifier is not None


@pytest.mark.parametrize(
    ("field", "count", "kind"),
    [
        ("float_data", 107, "FLOAT"),
        ("float_data", 109, "FLOAT"),
        ("int32_data", 4, "FLOAT"),
        ("int32_data", 54, "BFLOAT16"),
    ],
)
def test_typed_values_of_another_number_are_refused(field: str, count: int, kind: str, tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.DataType.Value(kind), dims=[4, 3, 3, 3])
    getattr(tensor, field).extend([1] * count)
    model = _after_conv("Relu", ["v"])
    model.graph.initializer[0].CopyFrom(tensor)
    with pytest.raises(CheckpointError, match="needs 108 values in"):
        _load(model, tmp_path)


HUGE = {
    "Expand": _after_conv("Expand", ["v", "s"], _integers("s", 100_000, 4, 600, 600)),
    "Tile": _after_conv("Tile", ["v", "s"], _integers("s", 10_000, 4, 600, 600)),
    "Pad": _after_conv("Pad", ["v", "s"], _integers("s", 0, 0, 10**5, 10**5, 0, 0, 10**5, 10**5)),
    "Conv": _after_conv("Conv", ["x", "w"], pads=[60_000] * 4),
    "ConstantOfShape": _after_conv("ConstantOfShape", ["s"], _integers("s", 10**5, 10**6)),
    "Einsum": _after_conv("Einsum", ["v"] * 4, equation="abcd,efgh,ijkl,mnop->abcdefghijklmnop"),
    "Resize": _after_conv(
        "Resize", ["v", "", "s"], numpy_helper.from_array(np.array([1, 1, 1e5, 1e5], np.float32), "s"), mode="nearest"
    ),
    "Concat": _graph(
        [helper.make_node("Conv", ["x", "w"], ["v0"])]
        + [helper.make_node("Concat", [f"v{i}"] * 100, [f"v{i + 1}"], axis=1) for i in range(8)],
        output="v8",
    ),
}


@pytest.mark.parametrize("operation", HUGE)
def test_a_forward_pass_that_asks_for_terabytes_gets_one_line(operation: str, tmp_path: Path) -> None:
    classifier = _load(HUGE[operation], tmp_path).classifier
    assert classifier is not None
    with pytest.raises(CheckpointError, match=r"forward pass needs .* GB of memory at .* where .* GB are allowed"):
        classifier(torch.ones(1, 3, 8, 8))


def test_a_size_that_the_image_chooses_makes_no_network(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("ReduceSum", ["x"], ["r"], keepdims=0),
        helper.make_node("Cast", ["r"], ["i"], to=TensorProto.INT64),
        helper.make_node("Range", ["zero", "i", "one"], ["y"]),
    ]
    scalars = [numpy_helper.from_array(np.array(value), name) for name, value in (("zero", 0), ("one", 1))]
    model = _load(_graph(nodes, *scalars), tmp_path)
    assert model.classifier is None
    assert "depends on the image" in model.notes[0]
    assert len(model.weights) == 1


def test_a_kernel_larger_than_its_weight_takes_no_memory(tmp_path: Path) -> None:
    model = _load(_after_conv("Conv", ["x", "w"], kernel_shape=[60_000, 60_000]), tmp_path)
    assert model.classifier is None
    assert "where 1.1 GB are allowed" in model.notes[0]


def test_one_weight_in_thousands_of_layers_is_counted_before_it_is_copied(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "big"], [f"y{i}"]) for i in range(2_000)]
    big = numpy_helper.from_array(np.zeros((256, 256, 3, 3), np.float32), "big")
    with pytest.raises(CheckpointError, match="its nodes use 4,718,592,000 bytes of weights"):
        _load(_graph(nodes, big, output="y0"), tmp_path)


def test_many_tensors_of_the_same_external_bytes_are_counted_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(1 << 20))
    tensors = []
    for number in range(10):
        tensor = TensorProto(name=f"t{number}", data_type=TensorProto.FLOAT, dims=[1 << 18])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="data.bin")
        tensors.append(tensor)
    with pytest.raises(CheckpointError, match="take 10,485,760 bytes of external data where the files hold 1,048,576"):
        _load(_after_conv("Relu", ["v"], *tensors), tmp_path)


@pytest.mark.parametrize("kind", ["repeated names", "identities"])
def test_thousands_of_nodes_cost_time_in_proportion(kind: str, tmp_path: Path) -> None:
    if kind == "repeated names":
        nodes = [helper.make_node("Relu", ["x"], ["y"], name="a") for _ in range(50_000)]
    else:
        nodes = [helper.make_node("Identity", [f"i{i}" if i else "w"], [f"i{i + 1}"]) for i in range(12_000)]
        nodes += [helper.make_node("Conv", ["x", "i12000"], ["y"]) for _ in range(2_000)]
    begun = time.process_time()
    model = _load(_graph(nodes), tmp_path)
    assert time.process_time() - begun < 30
    assert "make a network" in model.notes[-1]


def test_a_graph_of_control_flow_or_foreign_domains_keeps_its_weights(tmp_path: Path) -> None:
    inner = small_model().graph
    flow = helper.make_node("If", ["v"], ["y"], then_branch=inner, else_branch=inner)
    model = _load(_graph([helper.make_node("Conv", ["x", "w"], ["v"]), flow]), tmp_path)
    assert model.classifier is None
    assert "is no number, text or tensor" in model.notes[-1]
    assert len(model.weights) == 1


@pytest.mark.realdata
def test_hostile_files_break_no_later_file(realdata: Path, tmp_path: Path) -> None:
    def outcome() -> tuple[torch.Tensor, dict[str, int]]:
        model = load_model(Entry(model_id="m", source="resnet20-normal.onnx"), realdata)
        assert model.network is not None
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return model.network(images), trace(model.network, images[:1]).places

    expected, places = outcome()
    for model in HUGE.values():
        classifier = _load(model, tmp_path).classifier
        assert classifier is not None
        with pytest.raises(CheckpointError, match="forward pass"):
            classifier(torch.ones(1, 3, 8, 8))
    found, again = outcome()
    assert torch.equal(found, expected)
    assert again == places
