"""Benign files of every kind: the control that nothing is broken, and what a reader may do."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np

from hostile.payload import RUN_WAYS

__all__ = ["CORRUPTION", "FONTS", "GOOD_MODEL", "TABLE", "TRAIN", "controls", "make_benign", "write_run"]

GOOD_MODEL = "preact_resnet-normal-s0"
FONTS = [
    "extract",
    "-l",
    "fonts-linf",
    "--models",
    GOOD_MODEL,
    "--lens",
    "downsampling",
    "--data",
    "fonts",
    "--images",
    "8",
    "--fonts",
]
TRAIN = ["train", "normal", "--arch", "vgg_maxpool", "--width", "8", "--epochs", "1", "--images", "16", "--batch-size", "8"]  # fmt: skip
TABLE = ["--of", "models", "--scores", "sparsity"]
CORRUPTION = ["extract", "-l", "fonts-linf", "--models", GOOD_MODEL, "--lens", "corruption", "--images", "2"]
_FILTERDB = Path(__file__).parents[1] / "filterdb" / "published.h5.gz"


def make_benign(folder: Path) -> None:
    """Write one benign file of every kind into a folder."""
    import torch
    from matplotlib import get_data_path
    from safetensors.torch import save_file

    from filterlens.manifolds.learned import save_learned
    from filterlens.manifolds.vae import Decoder, Encoder, Shape

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    weights = {"conv.weight": torch.randn(8, 3, 3, 3), "bias": torch.randn(8)}
    torch.save(weights, folder / "good.pt")
    torch.save(weights, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": weights, "hyper_parameters": {"lr": 0.1}}, folder / "good.ckpt")
    save_file(weights, folder / "good.safetensors")
    (folder / "good.onnx").write_bytes(onnx_bytes(weights["conv.weight"].numpy()))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (8, 28, 28, 1)).astype("u1")
    np.savez(folder / "images.npz", images=images, labels=np.arange(8))
    np.savez(folder / "more.npz", images=np.tile(images, (3, 1, 1, 1)), labels=np.arange(24) % 2)
    _image_folder(folder / "pictures", images)
    _archive(folder / "images.zip", folder / "pictures")
    _published(folder / "corrupted", images)
    _cifar(folder / "cifar", rng)
    shutil.copytree(
        Path(get_data_path()) / "fonts" / "ttf",
        folder / "fonts",
        ignore=lambda _, names: [n for n in names if n not in {"DejaVuSans.ttf", "cmss10.ttf"}],
    )
    (folder / "filterdb.h5").write_bytes(gzip.decompress(_FILTERDB.read_bytes()))
    (folder / "zoo.csv").write_text("model_id,source\na,good.pt\nb,good.safetensors\nc,good.onnx\n")
    shape = Shape(channels=1, height=28, width=28, classes=10, width_factor=8)
    save_learned(folder / "manifold.safetensors", Encoder(shape), Decoder(shape), {"data": "images"})
    write_run(folder / "run")


def onnx_bytes(weight: np.ndarray, prefix: str = "") -> bytes:
    """A graph of one convolution and a ReLU."""
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    names = [f"{prefix}{name}" for name in ("x", "conv.weight", "between", "y")]
    nodes = [
        helper.make_node("Conv", names[:2], [names[2]], name=f"{prefix}conv"),
        helper.make_node("Relu", [names[2]], [names[3]], name=f"{prefix}relu"),
    ]
    ends = [value(names[0], TensorProto.FLOAT, [1, 3, 8, 8])], [value(names[3], TensorProto.FLOAT, [1, 8, 6, 6])]
    graph = helper.make_graph(nodes, f"{prefix}g", *ends, [numpy_helper.from_array(weight, names[1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def _image_folder(folder: Path, images: np.ndarray) -> None:
    from PIL import Image

    for number, image in enumerate(images):
        place = folder / f"class-{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{number}.png")


def _archive(path: Path, pictures: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "test"):
            for file in sorted(pictures.rglob("*.png")):
                archive.write(file, f"{split}/{file.parent.name}/{file.name}")


def _published(folder: Path, images: np.ndarray) -> None:
    from filterlens.inputs.corruptions.severities import CORRUPTIONS

    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(np.arange(8), 5))
    for name in CORRUPTIONS:
        np.save(folder / f"{name}.npy", np.tile(images, (5, 1, 1, 1)))


def _cifar(folder: Path, rng: np.random.Generator) -> None:
    import pickle

    place = folder / "cifar-10-batches-py"
    place.mkdir(parents=True)
    data = rng.integers(0, 255, (8, 3072)).astype("u1")
    batch = {"batch_label": "testing", "labels": list(range(8)), "data": data, "filenames": ["x"] * 8}
    (place / "test_batch").write_bytes(pickle.dumps(batch, 2))


def write_run(folder: Path) -> None:
    """Write a finished run of two models without its report, by filterlens itself."""
    from filterlens.catalogs import Catalog, Entry
    from filterlens.runs import analyze, extract

    source = folder.parent / "good.pt"
    rows = tuple(Entry(model_id=name, source=str(source), robust=name == "a") for name in ("a", "b"))
    extract(Catalog("run", rows, folder.parent), folder)
    analyze(folder)
    for name in (".lock", ".holder"):
        (folder / name).unlink(missing_ok=True)


def copy_run(good: Path, folder: Path) -> Path:
    """Copy the benign run, for a payload to change."""
    return Path(shutil.copytree(good / "run", folder))


def controls(way: str, good: Path, work: Path) -> list[list[str]]:
    """Commands on benign files that must succeed."""
    out = str(work / "out")
    if way in {"inspect", "compare", "check"}:
        files = [str(good / name) for name in ("good.pt", "legacy.pth", "good.ckpt", "good.safetensors", "good.onnx")]
        last = {"inspect": [], "compare": [files[0]], "check": ["--max-sparsity", "1"]}[way]
        return [[way, file, *last] for file in files]
    if way in RUN_WAYS:
        run = str(copy_run(good, work / "run"))
        after = {"analyze": [], "report": [["report", run]]}
        after |= {"card": [["card", run, "a"]], "table": [["table", run, *TABLE]]}
        return [["analyze", run], *after[way]]
    if way == "training":
        places = [out, f"{out}-of-npz"]
        return [[*TRAIN, "--data", str(good / name), "--out", place] for name, place in zip(("images.zip", "more.npz"), places, strict=True)]  # fmt: skip
    if way == "corrupted":
        return [[*CORRUPTION, "--data", str(good / "images.npz"), "--corrupted", str(good / "corrupted"), "--out", out]]
    if way == "filterdb":
        return [["import", "filterdb", str(good / "filterdb.h5"), "--out", out]]
    if way in {"data", "manifold"}:
        model = f"fonts-linf/{GOOD_MODEL}"
        base = ["inspect", model, "--lens", "downsampling", "--data"]
        images = [[*base, str(good / name)] for name in ("images.npz", "pictures")]
        return [*images, ["inspect", str(good / "good.pt")], [*FONTS, str(good / "fonts"), "--out", out]]
    if way == "audit":
        return [["audit", "-l", str(good / "zoo.csv"), "--out", out]]
    if way == "jobs":
        return [["extract", "-l", str(good / "zoo.csv"), "--jobs", "2", "--out", out]]
    if way == "folder":
        place = work / "checkpoints"
        place.mkdir()
        shutil.copyfile(good / "good.pt", place / "epoch-1.pt")
        shutil.copyfile(good / "good.onnx", place / "epoch-2.onnx")
        return [["audit", "--folder", str(place), "--out", out]]
    rows = ["inspect", f"filterdb:{good / 'filterdb.h5'}#0"]
    return [["extract", "-l", str(good / "zoo.csv"), "--out", out], ["inspect", str(good / "good.pt")], rows]
