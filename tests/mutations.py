"""Files with small damages, for every kind of data that is given: `python tests/mutations.py png 10000`.

Each mutant is loaded as `--data`, `--fonts` or `--manifold` would load it. It may load or be refused by one of our
errors; anything else, more than ten seconds, or more memory than `LIMIT`, ends the run with the mutant's number.
"""

from __future__ import annotations

import gzip
import io
import pickle
import resource
import struct
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
from PIL import Image

from filterlens.errors import FilterlensError
from filterlens.inputs import load_images

LIMIT = 3 << 30
IMAGES = ("png", "jpeg", "progressive", "webp", "bmp", "tiff", "ppm")
KINDS = (*IMAGES, "npz", "deflated", "pickle", "binary", "tar", "idx", "idx-gz", "ttf", "manifold")
WORDS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
RNG = np.random.default_rng(0)
PIXELS = np.repeat(np.repeat(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8), 4, axis=0), 4, axis=1)
ROWS = np.repeat(RNG.integers(0, 256, (3, 64), dtype=np.uint8), 48, axis=1)


def healthy(kind: str) -> bytes:
    """A small file of each kind."""
    out = io.BytesIO()
    if kind in IMAGES:
        options: dict[str, object] = {"progressive": True} if kind == "progressive" else {}
        if kind == "tiff":
            options["compression"] = "tiff_lzw"
        form = {"progressive": "JPEG"}.get(kind, kind.upper())
        Image.fromarray(PIXELS).save(out, form, **options)
    elif kind in {"npz", "deflated"}:
        save = np.savez if kind == "npz" else np.savez_compressed
        save(out, images=np.stack([PIXELS, PIXELS]), labels=np.arange(2))
    elif kind in {"pickle", "tar"}:
        content = pickle.dumps({"data": ROWS, "labels": [1, 2, 3], "filenames": ["a", "b", "c"]}, protocol=2)
        if kind == "pickle":
            return content
        with tarfile.open(fileobj=out, mode="w") as archive:
            member = tarfile.TarInfo("cifar-10-batches-py/test_batch")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    elif kind == "binary":
        return np.concatenate([np.array([[1], [2], [3]], np.uint8), ROWS], axis=1).tobytes()
    elif kind in {"idx", "idx-gz"}:
        content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 3, 8, 24) + ROWS.tobytes()[: 3 * 8 * 24]
        return gzip.compress(content) if kind == "idx-gz" else content
    elif kind == "ttf":
        return (Path(mpl.get_data_path()) / "fonts" / "ttf" / "cmtt10.ttf").read_bytes()
    else:
        return _manifold()
    return out.getvalue()


def _manifold() -> bytes:
    from filterlens.manifolds.learned import save_learned
    from filterlens.manifolds.vae import Decoder, Encoder, Shape

    shape = Shape(1, 8, 8, 2, 2, 8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        save_learned(path, Encoder(shape), Decoder(shape), {"data": "dots"})
        return path.read_bytes()


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, set words to extreme values, copy, cut, insert or drop a part; mostly where headers are."""
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        size = max(len(damaged), 1)
        place = int(rng.integers(min(size, 400)) if rng.random() < 0.6 else rng.integers(size))
        match int(rng.integers(6)):
            case 0:
                damaged[place : place + 1] = bytes([int(rng.integers(256))])
            case 1:
                damaged[place : place + 1] = bytes(
                    [(damaged[place : place + 1] or b"\0")[0] ^ 1 << int(rng.integers(8))]
                )
            case 2:
                word, width = WORDS[int(rng.integers(len(WORDS)))], int(rng.choice([1, 2, 4]))
                order: Literal["big", "little"] = "big" if rng.random() < 0.5 else "little"
                damaged[place : place + width] = (word & (1 << 8 * width) - 1).to_bytes(width, order)
            case 3:
                start = int(rng.integers(size))
                damaged[place:place] = damaged[start : start + int(rng.integers(1, 40))]
            case 4:
                del damaged[place : place + int(rng.integers(1, 40))]
            case _:
                del damaged[int(rng.integers(size)) :]
    return bytes(damaged)


def load(kind: str, content: bytes, folder: Path) -> None:
    """Load a file as the command line would."""
    if kind == "ttf":
        from filterlens.inputs.glyphs import rasterise_folder

        (folder / "a.ttf").write_bytes(content)
        rasterise_folder(folder)
    elif kind == "manifold":
        from filterlens.manifolds import load_learned

        (folder / "a.safetensors").write_bytes(content)
        load_learned(folder / "a.safetensors")
    elif kind in {"npz", "deflated"}:
        (folder / "a.npz").write_bytes(content)
        load_images(str(folder / "a.npz"), 10)
    else:
        name = {
            "pickle": "cifar-10-batches-py/test_batch",
            "binary": "cifar-10-batches-bin/test_batch.bin",
            "tar": "cifar-10-python.tar.gz",
            "idx": "t10k-images-idx3-ubyte",
            "idx-gz": "t10k-images-idx3-ubyte.gz",
        }.get(kind, f"class/a.{kind if kind != 'progressive' else 'jpeg'}")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        if kind.startswith("idx"):
            (folder / "t10k-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]))
        load_images(str(folder), 10)


def outcome(kind: str, content: bytes, folder: Path, loading: Callable[[str, bytes, Path], None] = load) -> str:
    """`loaded` or `refused`; whatever else is raised goes on."""
    try:
        loading(kind, content, folder)
    except FilterlensError:
        return "refused"
    return "loaded"


def main(kind: str, n: int, first: int = 0) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    content = healthy(kind)
    counts: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        assert outcome(kind, content, Path(folder)) == "loaded"
        for number in range(first, first + n):
            mutant = mutate(content, np.random.default_rng([KINDS.index(kind), number]))
            began = time.perf_counter()
            try:
                counts[outcome(kind, mutant, Path(folder))] += 1
            except BaseException as error:  # noqa: BLE001 - what is looked for
                counts[f"UNFORESEEN {type(error).__name__}"] += 1
                print(f"{kind} {number}: {type(error).__name__}: {str(error)[:200]}", flush=True)
            took = time.perf_counter() - began
            slowest = max(slowest, took)
            if took > 10:
                print(f"{kind} {number}: {took:.1f} s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{kind}: {dict(counts)}, slowest {slowest:.2f} s, peak {peak} MB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
