"""Valid files to mutate, and how each is read: one container a name."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CONTAINERS", "Container", "prepare"]


@dataclass(frozen=True, slots=True)
class Container:
    """One format: valid files, and the function of filterlens that reads it.

    Parameters
    ----------
    suffix
        Of the file that `read` is given.
    seeds
        Makes valid files from a folder of benign ones (see `hostile.benign`).
    read
        Reads a file; what it raises beside filterlens's own errors is a finding.
    share
        Of a thousand cases over all containers: files that are read in a millisecond get most of them.
    """

    suffix: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    share: int


def _file(*names: str) -> Callable[[Path], list[bytes]]:
    return lambda good: [(good / name).read_bytes() for name in names]


def _weights(path: Path) -> object:
    from filterlens.loaders.file import read_weights

    return read_weights(path)[0]


def _onnx(path: Path) -> object:
    from filterlens.catalogs import Entry
    from filterlens.loaders import load_model

    return load_model(Entry(model_id="x", source=str(path)), path.parent).weights


def _dump(path: Path) -> object:
    from pkgutil import resolve_name

    from filterlens.dumps import DumpReader
    from filterlens.lens import all_lenses, get_lens

    with DumpReader(path) as reader:
        return [resolve_name(get_lens(n).analyze)(reader.lens(n)) for n in reader.lenses if n in all_lenses()]


def _filterdb(path: Path) -> object:
    from filterlens.filterdb.database import FilterDatabase

    with FilterDatabase(path) as database:
        return database.models


def _data(path: Path) -> object:
    from filterlens.inputs import load_images

    return load_images(str(path), 8)


def _in_folder(*names: str) -> Callable[[Path], object]:
    """Read it where its format expects it."""

    def read(path: Path) -> object:
        place = path.parent.joinpath("folder", *names)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
        return _data(path.parent / "folder")

    return read


def _catalog(path: Path) -> object:
    from filterlens.catalogs import load_catalog

    return list(load_catalog(str(path)))


def _ledger(path: Path) -> object:
    from filterlens.report.data import read_ledger
    from filterlens.runs.ledger import Ledger

    return Ledger(path).latest(), read_ledger(path)


def _scores(path: Path) -> object:
    from filterlens.score import model_scores, read_scores

    return model_scores(read_scores(path))


def _font(path: Path) -> object:
    from filterlens.inputs.glyphs import rasterise_font

    return rasterise_font(path)


def _manifold(path: Path) -> object:
    from filterlens.manifolds.learned import load_learned

    return load_learned(path)


def _fonts(_: Path) -> list[bytes]:
    from matplotlib import get_data_path

    return [
        (Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf").read_bytes()
        for name in ("cmss10", "STIXSizOneSymReg")
    ]


def _jpeg(good: Path) -> list[bytes]:
    from PIL import Image

    out = io.BytesIO()
    Image.open(good / "pictures" / "class-0" / "0.png").save(out, "JPEG")
    return [out.getvalue()]


def _tar(good: Path) -> list[bytes]:
    from hostile.payloads.containers import tarred

    return [tarred([("model.pt", (good / "good.pt").read_bytes())])]


def _csv(_: Path) -> list[bytes]:
    text = io.StringIO()
    rows = [["model_id", "source", "eps", "mean", "std", "robust", "match", "epoch"], ["a", "x.pt", "8/255", "0.5", "0.2", "true", "b", "3"], ["b", "hf:a/b", "", "", "", "false", "", ""]]  # fmt: skip
    csv.writer(text).writerows(rows)
    return [text.getvalue().encode()]


def prepare(folder: Path) -> None:
    """Write what seeds are made of."""
    from hostile.benign import make_benign

    make_benign(folder)


CONTAINERS: dict[str, Container] = {
    "zip": Container(".pt", _file("good.pt", "good.ckpt"), _weights, 140),
    "legacy": Container(".pth", _file("legacy.pth"), _weights, 130),
    "tar": Container(".tar", _tar, _weights, 110),
    "safetensors": Container(".safetensors", _file("good.safetensors"), _weights, 145),
    "onnx": Container(".onnx", _file("good.onnx"), _onnx, 75),
    "dump": Container(".h5", _file("run/dumps/a.h5"), _dump, 20),
    "filterdb": Container(".h5", _file("filterdb.h5"), _filterdb, 10),
    "npz": Container(".npz", _file("images.npz"), _data, 90),
    "png": Container(".png", _file("pictures/class-0/0.png"), _in_folder("class-0", "0.png"), 15),
    "jpeg": Container(".jpg", _jpeg, _in_folder("class-0", "0.jpg"), 15),
    "cifar": Container(
        ".bin", _file("cifar/cifar-10-batches-py/test_batch"), _in_folder("cifar-10-batches-py", "test_batch"), 30
    ),
    "catalog": Container(".csv", _csv, _catalog, 130),
    "ledger": Container(".jsonl", _file("run/ledger.jsonl"), _ledger, 60),
    "parquet": Container(".parquet", _file("run/scores.parquet"), _scores, 10),
    "font": Container(".ttf", _fonts, _font, 10),
    "manifold": Container(".safetensors", _file("manifold.safetensors"), _manifold, 10),
}
