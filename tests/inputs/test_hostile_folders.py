"""Folders and files given as `--data` that are there to do harm."""

from __future__ import annotations

import io
import os
import resource
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from mutations import IMAGES, healthy
from PIL import Image

from filterlens.errors import InputError
from filterlens.inputs import folder as folders
from filterlens.inputs import load_images
from filterlens.inputs.folder import read_image
from filterlens.inputs.reading import FREE_BYTES, check_cost, read_regular

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
(was-run) (w) file closefile
showpage
%%EOF
"""


def put(folder: Path, content: bytes, name: str = "class/0.png") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def png(width: int, height: int, *extra: bytes, depth: int = 8, rows: bytes | None = None) -> bytes:
    """A PNG of one grey, which takes a thousandth of its pixels' bytes; or one that only declares its size."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) if rows is None else packer.compress(rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))]
    chunks += [(part[:4], part[4:]) for part in extra] + [(b"IDAT", data + packer.flush()), (b"IEND", b"")]
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("name", ["0.png", "0.jpg", "0.tiff"])
def test_an_eps_file_starts_no_program_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(os, "posix_spawn", started)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/bin/true")
    put(tmp_path, EPS, f"class/{name}")
    with pytest.raises(InputError, match=rf"{name} cannot be read as an image .*cannot identify"):
        load_images(str(tmp_path), 1)


@pytest.mark.parametrize("kind", ["GIF", "ICO", "ICNS", "TGA", "PCX", "DDS", "SGI", "JPEG2000", "PSD"])
def test_formats_that_are_not_named_are_not_opened(tmp_path: Path, kind: str) -> None:
    if kind == "PSD":
        content = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(40)
    else:
        out = io.BytesIO()
        Image.new("RGB", (16, 16)).save(out, kind)
        content = out.getvalue()
    put(tmp_path, content)
    with pytest.raises(InputError, match="cannot be read as an image"):
        load_images(str(tmp_path), 1)


@pytest.mark.parametrize("kind", IMAGES)
def test_every_named_format_gives_what_pillow_decodes(tmp_path: Path, kind: str) -> None:
    content = healthy(kind)
    put(tmp_path, content)  # by its content, not its name: ImageNet has a PNG called .JPEG
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "class" / "0.png"), expected)
    found = load_images(str(tmp_path), 1)
    np.testing.assert_array_equal(found.pixels[0], expected.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16"])
def test_every_mode_gives_what_pillow_converts(tmp_path: Path, mode: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 7), dtype=np.uint8)
    image = Image.fromarray(values.astype(np.uint16)) if mode == "I;16" else Image.fromarray(values).convert(mode)
    image.save(tmp_path / "a.png")
    grey = mode in {"1", "L"}
    expected = np.asarray(image.convert("L" if grey else "RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected[..., None] if grey else expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", colour=True), np.asarray(image.convert("RGB")))


def test_declared_sizes_are_added_up_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = png(8000, 8000, rows=b"")  # of 64 million pixels, none of which is there
    for place in range(12):
        put(tmp_path, content, f"class/{place}.png")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(InputError, match=r"declares images that take 3\.6 GB of memory, from \d+ bytes on disk"):
        load_images(str(tmp_path), 12)


def test_twelve_small_files_do_not_take_gigabytes(tmp_path: Path) -> None:
    content = png(16000, 4000)
    assert len(content) < 300_000
    for place in range(12):
        put(tmp_path, content, f"class/{place}.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"use fewer .--images. or smaller images"):
        load_images(str(tmp_path), 12)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_cost_is_in_proportion_to_the_files() -> None:
    check_cost("x", FREE_BYTES, 1)
    check_cost("x", 2 << 30, 1 << 23)
    with pytest.raises(InputError, match=r"x declares images that take 2\.0 GB of memory, from 4194303 bytes"):
        check_cost("x", 2 << 30, (1 << 22) - 1)
    with pytest.raises(InputError, match=r"for which at most 32\.0 GB are taken"):
        check_cost("x", (32 << 30) + 1, 1 << 40)


@pytest.mark.parametrize(
    ("width", "height"), [(8193, 8193), (100_000, 100_000), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)]
)
@pytest.mark.filterwarnings("error")
def test_an_image_of_too_many_pixels_is_refused(tmp_path: Path, width: int, height: int) -> None:
    path = put(tmp_path, png(width, height, rows=b""))
    with pytest.raises(InputError, match=r"0\.png cannot be read as an image \(.*(pixels|exceeds limit)"):
        read_image(path, crop=(256, 224))


@pytest.mark.parametrize(("width", "height"), [(1, 60_000_000), (60_000_000, 1), (1, 16_385), (16_385, 1)])
def test_an_image_of_a_long_side_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    path = put(tmp_path, png(width, height, rows=b""))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(InputError, match=f"{width}x{height} pixels; at most 16384 a side are read"):
        read_image(path)


@pytest.mark.parametrize(("width", "height"), [(1, 16_384), (16_384, 1)])
def test_an_image_of_the_longest_side_is_read(tmp_path: Path, width: int, height: int) -> None:
    assert read_image(put(tmp_path, png(width, height))).shape == (height, width, 1)


@pytest.mark.parametrize(
    "head",
    [
        b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00" + b"\xff\x3f\x00",
        b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", 0x0FFFFFFF) + bytes(9),
        b"VP8 " + struct.pack("<I", 20) + b"\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(10),
    ],
)
def test_a_webp_canvas_is_measured_before_it_is_opened(tmp_path: Path, head: bytes) -> None:
    path = put(tmp_path, b"RIFF" + struct.pack("<I", 4 + len(head)) + b"WEBP" + head)
    with pytest.raises(InputError, match=r"1638[34]x1638[34] pixels; at most 67108864 are read"):
        read_image(path)


@pytest.mark.parametrize("kind", ["webp", "lossless", "alpha"])
def test_a_healthy_webp_of_each_kind_is_measured_right(tmp_path: Path, kind: str) -> None:
    image = Image.new("RGBA" if kind == "alpha" else "RGB", (37, 21), (9, 8, 7))
    if kind == "alpha":
        image.putpixel((0, 0), (1, 2, 3, 4))
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=kind == "lossless")
    assert folders._webp_size(out.getvalue()) == (37, 21)
    assert read_image(put(tmp_path, out.getvalue())).shape == (21, 37, 3)


def test_a_jpeg_of_endless_scans_is_refused_at_once(tmp_path: Path) -> None:
    content = healthy("progressive")
    start = content.rindex(b"\xff\xda")
    path = put(tmp_path, content[:start] + content[start:-2] * 5000 + content[-2:])
    with pytest.raises(InputError, match="a JPEG of more than 100 scans"):
        read_image(path)


def test_a_tiff_of_huge_tiles_is_refused(tmp_path: Path) -> None:
    entries = {256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40_000, 323: 40_000, 324: 200, 325: 8}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    path = put(tmp_path, b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + bytes(100))
    with pytest.raises(InputError, match="40000x40000 pixels; at most"):
        read_image(path)


def test_a_narrow_image_is_not_blown_up_to_be_cropped(tmp_path: Path) -> None:
    path = put(tmp_path, png(2, 16_000))
    assert read_image(path).shape == (16_000, 2, 1)
    with pytest.raises(InputError, match="256x2048000 pixels"):
        read_image(path, crop=(256, 224))


def test_text_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    text = zlib.compress(bytes(50 << 20), 9)
    path = put(tmp_path, png(8, 8, b"zTXtComment\0\0" + text))
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(path)
    np.testing.assert_array_equal(read_image(put(tmp_path, png(8, 8, b"tEXtComment\0hello"))), np.zeros((8, 8, 1)))


@pytest.mark.parametrize("where", ["class/0.png", "data.npz", "cifar-10-batches-py/test_batch"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, where: str) -> None:
    (tmp_path / where).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / where)
    data = tmp_path / where if where == "data.npz" else tmp_path
    with pytest.raises(InputError, match=r"no regular file|cannot be read|holds neither"):
        load_images(str(data), 1)


@pytest.mark.parametrize("data", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_a_device_is_not_read(data: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_images(data, 1)


def test_a_device_behind_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "0.png").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"0\.png is no regular file"):
        load_images(str(tmp_path), 1)


def test_a_socket_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("data.npz")
        with pytest.raises(InputError, match="cannot be read"):
            load_images("data.npz", 1)


def test_links_that_lead_in_circles_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "0.png").symlink_to("0.png")
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        load_images(str(tmp_path), 1)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="is neither a data set"):
        load_images(str(tmp_path / "loop"), 1)


def test_a_link_to_an_image_is_followed(tmp_path: Path) -> None:
    target = put(tmp_path / "elsewhere", healthy("png"), "picture")
    (tmp_path / "data" / "class").mkdir(parents=True)
    (tmp_path / "data" / "class" / "0.png").symlink_to(target)
    assert load_images(str(tmp_path / "data"), 1).pixels.shape == (1, 3, 16, 20)


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(6):
        put(tmp_path, healthy("png"), f"class/{place}.png")
    monkeypatch.setattr(folders, "MAX_FILES", 6)
    assert len(load_images(str(tmp_path), 10)) == 6
    put(tmp_path, b"", "class/notes.txt")
    with pytest.raises(InputError, match="class holds more than 6 files: give a folder with fewer"):
        load_images(str(tmp_path), 10)


@pytest.mark.parametrize("name", [b"a\x1b[31m.png", b"a\n.png", b"\xff\xfe.png", "é\u202e.png".encode(), b"-.png"])
def test_odd_names_are_only_names(tmp_path: Path, name: bytes) -> None:
    put(tmp_path, healthy("png"), f"class/{os.fsdecode(name)}")
    assert len(load_images(str(tmp_path), 1)) == 1
    put(tmp_path, b"<html>", f"class/{os.fsdecode(name)}")
    with pytest.raises(InputError, match="cannot be read as an image"):
        load_images(str(tmp_path), 1)


def test_a_subfolder_called_as_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "class" / "0.png").mkdir(parents=True)
    with pytest.raises(InputError, match=r"0\.png.*no regular file"):
        load_images(str(tmp_path), 1)


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    put(tmp_path, healthy("png"))
    (tmp_path / "class").chmod(0)
    try:
        with pytest.raises(InputError, match=r"cannot be read .*Permission denied"):
            load_images(str(tmp_path), 1)
    finally:
        (tmp_path / "class").chmod(0o700)


def test_memory_that_runs_out_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    put(tmp_path, healthy("png"))
    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(InputError, match="memory ran out: use fewer images"):
        load_images(str(tmp_path), 1)


def test_a_file_that_has_no_length_gives_nothing() -> None:
    """Files of /proc declare no bytes, and some of them never end."""
    assert read_regular(Path("/proc/self/maps")) == b""
    with pytest.raises(OSError, match="of which at most 10 are read"):
        read_regular(Path(sys.executable), 10)
