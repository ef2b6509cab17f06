"""Archives, pickles, fonts and manifolds that are there to do harm; each has its healthy twin beside it."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import KINDS, healthy, mutate, outcome

from filterlens.errors import InputError
from filterlens.inputs import load_images
from filterlens.inputs.glyphs import rasterise_folder, rasterise_font

ROWS = np.random.default_rng(0).integers(0, 256, (8, 3072), dtype=np.uint8)
PIXELS = np.random.default_rng(1).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
FILES = ("cifar-10-batches-py/test_batch", "cifar-10-python.tar.gz")


def text(value: object) -> bytes:
    """Opcodes that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def array(kind: tuple[Any, ...], state: tuple[Any, ...], shape: object, data: bytes, fortran: bool = False) -> bytes:
    """Opcodes of an array whose type and state the file chooses."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\1btR(K\1" + text(shape) + b"cnumpy\ndtype\n"
        + text(kind) + b"R" + text(state) + b"b" + text(fortran) + b"B" + struct.pack("<I", len(data)) + data + b"tb"
    )  # fmt: skip


def batch(data: bytes, labels: bytes = text([1] * 8)) -> bytes:
    return b"\x80\3}(" + text("data") + data + text("labels") + labels + b"u."


def old_batch(key: str, labels: list[int]) -> bytes:
    """A batch as Python 2 and NumPy 1 wrote them: text holds bytes, module names are the old ones."""

    def string(part: bytes) -> bytes:
        return b"U" + bytes([len(part)]) + part if len(part) < 256 else b"T" + struct.pack("<I", len(part)) + part

    made = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\1cnumpy\nndarray\nq\2K\0\x85U\1b\x87Rq\3(K\1" + text(ROWS.shape)
        + b"cnumpy\ndtype\nq\4U\2u1K\0K\1\x87Rq\5(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89"
        + string(ROWS.tobytes()) + b"tb"
    )  # fmt: skip
    return (
        b"\x80\2}q\0(" + string(b"data") + made + string(key.encode()) + text(labels)
        + string(b"batch_label") + string(b"testing batch 1 of 1") + b"u."
    )  # fmt: skip


def put(folder: Path, content: bytes, name: str = FILES[0]) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


U1 = (("u1", False, True), (3, "|", None, None, None, -1, -1, 0), (8, 3072), ROWS.tobytes())


# CIFAR's pickles


def test_a_batch_with_a_type_of_its_own_state_does_not_end_the_process(tmp_path: Path) -> None:
    """Objects whose type says that it holds none were pointers of the file's choice."""
    wild = array(("O8", False, True), (3, "|", None, None, None, -1, -1, 0), (8,), b"A" * 64)
    put(tmp_path, batch(array(*U1), wild))
    code = "import sys; from pathlib import Path; from filterlens.inputs import load_images; "
    code += "load_images('cifar10', 8, cache=Path(sys.argv[1]))"
    ended = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "InputError" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array(("O8", False, True), *U1[1:]), "it holds an array of 'O8'"),
        (array(("V8", False, True), *U1[1:]), "it holds an array of 'V8'"),
        (array(("u1,u1", False, True), *U1[1:]), "it holds an array of 'u1,u1'"),
        (array((["u1"], False, True), *U1[1:]), "it holds an array of .'u1'."),
        (array(("u3", False, True), *U1[1:]), "it holds an array of 'u3'"),
        (array(U1[0], (3, "x", None), *U1[2:]), "unknown byte order"),
        (array(U1[0], (), *U1[2:]), "unknown byte order"),
        (array(*U1[:2], (8, 3073), U1[3]), r"has 24576 bytes, which do not fill its shape \(8, 3073\)"),
        (array(*U1[:2], (2**40, 2**40), U1[3]), "do not fill its shape"),
        (array(*U1[:2], (-8, -3072), U1[3]), "has no shape"),
        (array(*U1[:2], (8.0, 3072), U1[3]), "has no shape"),
        (array(*U1[:2], (1,) * 70, U1[3]), "has no shape"),
        (array(*U1[:2], (0, 2**62, 2**62), b""), "cannot be read as a CIFAR batch"),
        (text([[1, 2], [3]]), "it holds no array 'data'"),
        (b"cbuiltins\neval\n" + text("1/0") + b"\x85R", "asks for builtins.eval, which no CIFAR batch holds"),
        (b"cnumpy\nload\n" + text("/etc/passwd") + b"\x85R", "asks for numpy.load"),
        (b"cnumpy.core.multiarray\nscalar\n", "asks for numpy.core.multiarray.scalar"),
        (b"(" * 100_000 + b"t" * 100_000, "it holds no array 'data'"),
    ],
)
def test_arrays_are_made_of_bytes_and_a_checked_type_only(tmp_path: Path, data: bytes, message: str) -> None:
    put(tmp_path, batch(data))
    with pytest.raises(InputError, match=message):
        load_images("cifar10", 8, cache=tmp_path)


@pytest.mark.parametrize("labels", [[10**30] * 8, [True] * 8, [1.5] * 8, ["1"] * 8, [[1]] * 8])
def test_labels_that_are_no_integers_are_refused(tmp_path: Path, labels: list[Any]) -> None:
    put(tmp_path, batch(array(*U1), text(labels)))
    with pytest.raises(InputError, match="it holds no array 'labels'"):
        load_images("cifar10", 8, cache=tmp_path)


@pytest.mark.parametrize("protocol", [None, 0, 1, 2, 3, 4])
@pytest.mark.parametrize("labels", [list(range(8)), np.arange(8), np.arange(8, dtype=">i4"), np.arange(8, dtype="u1")])
def test_batches_of_python_2_and_3_are_read_as_pickle_reads_them(
    tmp_path: Path, protocol: int | None, labels: Any
) -> None:
    if protocol is None:
        content = old_batch("labels", list(range(8)))
    else:
        content = pickle.dumps({"data": ROWS, "labels": labels, "batch_label": "x"}, protocol=protocol)
    put(tmp_path, content)
    found = load_images("cifar10", 8, cache=tmp_path)
    expected = pickle.loads(content, encoding="latin1")
    np.testing.assert_array_equal(expected["data"], ROWS)
    assert found.pixels.tobytes() == (ROWS.reshape(8, 3, 32, 32).astype(np.float32) / np.float32(255)).tobytes()
    np.testing.assert_array_equal(found.labels, np.asarray(expected["labels"]))


def test_an_array_in_fortrans_order_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    put(tmp_path, pickle.dumps({"data": np.asfortranarray(ROWS), "labels": [1] * 8}, protocol=2))
    found = load_images("cifar10", 8, cache=tmp_path)
    assert found.pixels.tobytes() == (ROWS.reshape(8, 3, 32, 32).astype(np.float32) / np.float32(255)).tobytes()


# CIFAR's archive


def tar(*members: tuple[str, bytes, dict[str, Any]], **options: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **options) as archive:
        for name, content, changes in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


HEALTHY = batch(array(*U1))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_every_form_are_read(tmp_path: Path, packed: bool, form: int) -> None:
    others = (
        ("cifar-10-batches-py/" + "long" * 40, b"x" * 700, {"mtime": 1.5}),
        ("cifar-10-batches-py", b"", {"type": b"5"}),
    )
    content = tar(
        *(others if form != tarfile.USTAR_FORMAT else others[1:]), (FILES[0], HEALTHY, {"mtime": 1}), format=form
    )
    put(tmp_path, gzip.compress(content) if packed else content, FILES[1])
    assert load_images("cifar10", 8, cache=tmp_path).labels.tolist() == [1] * 8


def test_extended_headers_are_not_searched(tmp_path: Path) -> None:
    """Records of digits made `tarfile` search for hours (CVE-2024-6232)."""
    records = b"1" * 2_000_000
    content = tar(("pax", records, {"type": tarfile.XHDTYPE}), (FILES[0], HEALTHY, {}))
    put(tmp_path, gzip.compress(content), FILES[1])
    began = time.process_time()
    assert len(load_images("cifar10", 8, cache=tmp_path)) == 8
    assert time.process_time() - began < 2


@pytest.mark.parametrize("size", [2 << 30, (1 << 33) - 1])
def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("other")
    info.size = size
    put(tmp_path, gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)), FILES[1])
    with pytest.raises(InputError, match="it holds more than so many bytes can"):
        load_images("cifar10", 8, cache=tmp_path)


def test_a_member_that_declares_gigabytes_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo(FILES[0])
    info.size = 6 << 30
    put(tmp_path, gzip.compress(info.tobuf(tarfile.USTAR_FORMAT)), FILES[1])
    with pytest.raises(InputError, match="is no plain file of credible size"):
        load_images("cifar10", 8, cache=tmp_path)


def test_an_archive_of_endless_members_is_refused(tmp_path: Path) -> None:
    put(tmp_path, gzip.compress(tarfile.TarInfo("x").tobuf() * 10_001), FILES[1])
    with pytest.raises(InputError, match="holds more than 10000 files"):
        load_images("cifar10", 8, cache=tmp_path)


# npz


def npz(folder: Path, images: bytes, labels: bytes | None = None, **options: Any) -> str:
    """An archive of raw members."""
    path = folder / "mine.npz"
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("images.npy", images)
        archive.writestr("labels.npy", member(np.arange(6)) if labels is None else labels)
    return str(path)


def member(values: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def headed(header: str, data: bytes = PIXELS.tobytes(), version: int = 1) -> bytes:
    width = {1: "<H", 2: "<I", 3: "<I"}[version]
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(width, len(text)) + text + data


PLAIN = "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 5, 7, 3), }"


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    "header",
    [
        PLAIN,
        PLAIN + " " * 60,
        "{'shape': (6, 5, 7, 3), 'fortran_order': False, 'descr': '|u1'}",
        '{"descr":"|u1","fortran_order":False,"shape":(6,5,7,3)}',
        "{'descr': '|u1', 'fortran_order': False, 'shape': (6L, 5L, 7L, 3L), }",
    ],
)
def test_headers_of_every_writer_are_read(tmp_path: Path, header: str, version: int) -> None:
    found = load_images(npz(tmp_path, headed(header, version=version)), 4)
    assert (
        found.pixels.tobytes()
        == (np.ascontiguousarray(PIXELS[:4].transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)).tobytes()
    )


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("n", [1, 4, 6, 100])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "<f2", ">f4", "<f8"])
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, compress: bool, n: int, order: Any, dtype: str) -> None:
    images = np.asarray(PIXELS if dtype == "u1" else (PIXELS / 255).astype(dtype), order=order)
    path = tmp_path / "mine.npz"
    (np.savez_compressed if compress else np.savez)(path, images=images, labels=np.arange(6), more=np.arange(3))
    with np.load(path) as file:
        expected = np.ascontiguousarray(file["images"][:n].transpose(0, 3, 1, 2), dtype=np.float32)
    if dtype == "u1":
        expected = expected / np.float32(255)
    found = load_images(str(path), n)
    assert found.pixels.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(found.labels, np.arange(6)[:n])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (6,), }", "holds pickled objects, which are never loaded"),
        ("{'descr': '|V3', 'fortran_order': False, 'shape': (6,), }", "is of type '|V3'; expected numbers"),
        ("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (6,), }", "is none that numpy writes"),
        ("{'descr': ('|u1', (3,)), 'fortran_order': False, 'shape': (6,), }", "is none that numpy writes"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-6, -5), }", "is none that numpy writes"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (6, 5, 7, 4), }", "declares 9.. bytes and has 7.."),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (6, 5, 7), }", "declares 2.. bytes and has 7.."),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 0), }", "shape that numpy cannot"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (4611686018427387903, 5), }", "declares 2305.* bytes"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1, " * 33 + "), }", "shape that numpy cannot"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os').abort(), }", "is none that numpy writes"),
        ("(" * 4000, "is none that numpy writes"),
        ("-" * 4000 + "1", "is none that numpy writes"),
        (PLAIN + " " * 5000, "has a header of 50.. bytes"),
        ("", "is none that numpy writes"),
        ("{'descr': '|u99', 'fortran_order': False, 'shape': (6,), }", "which numpy does not know"),
    ],
)
def test_headers_that_numpy_does_not_write_are_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(InputError, match=f"cannot be read as .npz .*{message}"):
        load_images(npz(tmp_path, headed(header)), 6)


def test_a_small_archive_of_gigabytes_is_refused(tmp_path: Path) -> None:
    path, n = tmp_path / "mine.npz", 1_200_000
    head = headed(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, 32, 32, 1), }}", b"")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", member(np.zeros(n, np.uint8)))
        archive.writestr("images.npy", head + bytes(1 << 20))
        archive.filelist[1].file_size = len(head) + n * 1024  # as a file that deflates 1000:1 would say
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"declares images that take 5\.7 GB of memory, from \d+ bytes on disk"):
        load_images(str(path), n)
    with pytest.raises(InputError, match="an array is cut off"):
        load_images(str(path), 2000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_healthy_archive_of_little_but_zeros_is_read(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "mine.npz", images=np.zeros((20_000, 32, 32, 1), np.uint8), labels=np.zeros(20_000, int)
    )
    assert (tmp_path / "mine.npz").stat().st_size < 25_000
    assert load_images(str(tmp_path / "mine.npz"), 1000).pixels.shape == (1000, 1, 32, 32)
    assert load_images(str(tmp_path / "mine.npz"), 20_000).pixels.shape == (20_000, 1, 32, 32)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_packed_otherwise_is_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(InputError, match="'images' is compressed in a way that numpy does not write"):
        load_images(npz(tmp_path, member(PIXELS), compression=kind), 6)


@pytest.mark.parametrize("name", ["labels.npy", "labels", "images"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_an_array_twice_is_refused(tmp_path: Path, name: str) -> None:
    path = npz(tmp_path, member(PIXELS))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, member(np.arange(6)))
    with pytest.raises(InputError, match=rf"it holds '{name.removesuffix('.npy')}' twice"):
        load_images(path, 6)


def test_names_that_lead_elsewhere_are_only_names(tmp_path: Path) -> None:
    path = npz(tmp_path, member(PIXELS))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../was-run\x1b[31m", b"x")
    assert len(load_images(path, 6)) == 6
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../images\x1b[31m.npy", member(PIXELS))
    with pytest.raises(InputError, match=r"lacks the array 'images'; it holds \.\./images\\x1b\[31m") as caught:
        load_images(path, 6)
    assert "\x1b" not in str(caught.value)


def test_a_flipped_bit_beyond_the_images_that_are_used_is_found(tmp_path: Path) -> None:
    path = Path(npz(tmp_path, member(PIXELS)))
    content = bytearray(path.read_bytes())
    content[content.rindex(PIXELS.tobytes()[-8:])] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="Bad CRC-32"):
        load_images(str(path), 1)


# fonts


FONT = healthy("ttf")


def changed_font(**tables: bytes) -> bytes:
    """A healthy font, some tables of which are replaced or added."""
    (n,) = struct.unpack_from(">H", FONT, 4)
    parts = {
        tag: FONT[start : start + size] for tag, _, start, size in struct.iter_unpack(">4sIII", FONT[12 : 12 + 16 * n])
    }
    parts |= {tag.encode(): data for tag, data in tables.items()}
    directory, body = FONT[:4] + struct.pack(">H", len(parts)) + bytes(6), b""
    for tag, data in parts.items():
        directory += struct.pack(">4sIII", tag, 0, 12 + 16 * len(parts) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    return directory + body


def test_a_font_put_together_anew_is_drawn_the_same(tmp_path: Path) -> None:
    same, plain = put(tmp_path, changed_font(), "fonts/a.ttf"), put(tmp_path, FONT, "fonts/b.ttf")
    np.testing.assert_array_equal(rasterise_font(same), rasterise_font(plain))


def cmap(form: bytes, platform: int = 3, encoding: int = 10, count: int = 1) -> bytes:
    record = struct.pack(">HHI", platform, encoding, 4 + 8 * count)
    return struct.pack(">HH", 0, count) + record * count + form


def groups(*bounds: tuple[int, int], form: int = 12) -> bytes:
    packed = b"".join(struct.pack(">III", first, last, 1) for first, last in bounds)
    return struct.pack(">HHIII", form, 0, 16 + len(packed), 0, len(bounds)) + packed


def segments(n: int) -> bytes:
    body = struct.pack(">HHHH", 2 * n, 0, 0, 0) + b"\xff\xfe" * n + bytes(2) + bytes(2 * n) + bytes(4 * n)
    return struct.pack(">HHH", 4, 6 + len(body), 0) + body


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (cmap(groups((0, 2**32 - 1))), "it names 4294967296 characters"),
        (cmap(groups((0, 2**32 - 1), form=13)), "it names 4294967296 characters"),
        (cmap(groups(*[(0, 0x10FFFF)] * 5000)), "it names 5570560000 characters"),
        (cmap(segments(8000)), "it names 5242"),
        (cmap(groups((65, 80)), count=65), "it has 65 tables of characters"),
        (cmap(struct.pack(">HHH", 2, 600, 0) + bytes(600)), "in a table of form 2, which is not read"),
        (cmap(b""), "unpack_from requires"),
        (b"", "unpack_from requires"),
    ],
)
def test_tables_of_characters_are_not_unfolded_without_end(tmp_path: Path, table: bytes, message: str) -> None:
    path = put(tmp_path, changed_font(cmap=table), "fonts/a.ttf")
    with pytest.raises(InputError, match=f"cannot be read as a TrueType font .*{message}"):
        rasterise_font(path)


def composite_font(depth: int, flags: int = 0x23) -> bytes:
    """A font whose letter A is two glyphs, each of which is two glyphs, … of nothing."""
    from fontTools.ttLib import TTFont
    from fontTools.ttLib.tables._g_l_y_f import Glyph

    font = TTFont(io.BytesIO(FONT))
    order = font.getGlyphOrder()
    start = font.getBestCmap()[ord("A")]
    chain = [start, *(name for name in order[60:] if name != start)][: depth + 1]
    glyf = font["glyf"]
    for this, other in zip(chain, chain[1:] + ([chain[0]] if depth < 3 else []), strict=False):
        index = order.index(other)
        part = struct.pack(">HHbb", flags & ~1, index, 0, 0)
        last = struct.pack(">HHbb", flags & ~0x21, index, 0, 0)
        glyf[this] = Glyph(struct.pack(">hhhhh", -1, 0, 0, 10, 10) + part + last)
    if depth >= 3:
        glyf[chain[-1]] = Glyph(b"")
    font.recalcBBoxes = False
    out = io.BytesIO()
    font.save(out, reorderTables=False)
    return out.getvalue()


@pytest.mark.parametrize("depth", [1, 2, 40])
def test_glyphs_made_of_glyphs_end(tmp_path: Path, depth: int) -> None:
    path = put(tmp_path, composite_font(depth), "fonts/a.ttf")
    began = time.process_time()
    with pytest.raises(InputError, match=r"cannot be read as a TrueType font|has no letter 'A'"):
        rasterise_font(path)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("flavour", ["woff", "CFF ", "VARC"])
def test_fonts_that_are_not_plain_truetype_are_refused(tmp_path: Path, flavour: str) -> None:
    content = b"wOFF" + FONT[4:] if flavour == "woff" else changed_font(**{flavour: bytes(40)})
    path = put(tmp_path, content, "fonts/a.ttf")
    with pytest.raises(InputError, match=r"it does not begin as one|are in the table (CFF|VARC), which is not read"):
        rasterise_font(path)


def test_a_letter_of_one_point_is_refused(tmp_path: Path) -> None:
    from fontTools.ttLib import TTFont
    from fontTools.ttLib.tables._g_l_y_f import Glyph

    font = TTFont(io.BytesIO(FONT))
    # three points, all of which repeat the first: x and y are as before
    font["glyf"][font.getBestCmap()[ord("B")]] = Glyph(
        struct.pack(">hhhhhHH", 1, 0, 0, 0, 0, 2, 0) + bytes([0x31, 0x31, 0x31])
    )
    out = io.BytesIO()
    font.save(out)
    with pytest.raises(InputError, match="has no letter 'B'"):
        rasterise_font(put(tmp_path, out.getvalue(), "fonts/a.ttf"))


def test_a_pipe_among_fonts_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.ttf")
    with pytest.raises(InputError, match="is no regular file"):
        rasterise_folder(tmp_path)


# all of them


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {kind: healthy(kind) for kind in KINDS}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_in_one_line_or_changes_nothing(
    tmp_path: Path, files: dict[str, bytes], kind: str, seed: int
) -> None:
    assert outcome(kind, mutate(files[kind], np.random.default_rng(seed)), tmp_path) in {"loaded", "refused"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_file_of_each_kind_loads(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    assert outcome(kind, files[kind], tmp_path) == "loaded"


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_refused(tmp_path: Path, kind: str) -> None:
    noise = random.Random(kind).randbytes(5000)
    assert outcome(kind, noise, tmp_path) == "refused"
