"""Harm to any HDF5 file: links and storage elsewhere, types, bombs, filters, and damage."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from hostile.payload import TOKEN, Case

__all__ = ["HARMS", "damage"]

Harm = Callable[[h5py.File, str, Case], None]


def _replaced(make: Callable[[h5py.Group, str, np.ndarray, Case], object]) -> Harm:
    """Put something else in a dataset's place, with the attributes that it had."""

    def harm(file: h5py.File, place: str, case: Case) -> None:
        old = file[place]
        values, attributes = old[()], dict(old.attrs)
        del file[place]
        group, _, name = place.rpartition("/")
        make(file[group or "/"], name, np.asarray(values), case)
        try:
            file[place].attrs.update(attributes)
        except (KeyError, OSError, AttributeError, TypeError):
            return

    return harm


def _typed(dtype: object, shape: tuple[int, ...] = (4,)) -> Harm:
    return _replaced(lambda group, name, values, case: group.create_dataset(name, shape, dtype=dtype))


def _shaped(shape: tuple[int, ...], **options: object) -> Harm:
    return _replaced(
        lambda g, n, v, c: g.create_dataset(n, shape, dtype=v.dtype if v.dtype.kind in "fiu" else "f4", **options)
    )


def _external(name: str) -> Harm:
    def make(group: h5py.Group, own: str, values: np.ndarray, case: Case) -> None:
        path = name.replace("{secret}", str(case.secret))
        group.create_dataset(
            own,
            values.shape,
            dtype=values.dtype if values.dtype.kind != "O" else "u1",
            external=[(path, 0, h5py.h5f.UNLIMITED)],
        )

    return _replaced(make)


def _virtual(name: str) -> Harm:
    def make(group: h5py.Group, own: str, values: np.ndarray, case: Case) -> None:
        layout = h5py.VirtualLayout(shape=values.shape or (1,), dtype="f4")
        layout[:] = h5py.VirtualSource(name.replace("{secret}", str(case.secret)), "x", shape=values.shape or (1,))
        group.create_virtual_dataset(own, layout)

    return _replaced(make)


def _linked(make: Callable[[Case], object]) -> Harm:
    return _replaced(lambda group, name, values, case: group.__setitem__(name, make(case)))


def _bomb(group: h5py.Group, name: str, values: np.ndarray, case: Case) -> None:
    """A gigabyte of zeros that are really stored, in a megabyte."""
    made = group.create_dataset(name, (1 << 28,), dtype="f4", chunks=(1 << 24,), compression="gzip", compression_opts=9)
    made[: 1 << 24] = 0
    stored, mask = made.id.read_direct_chunk((0,))[::-1]
    for start in range(1, 16):
        made.id.write_direct_chunk((start << 24,), stored, mask)


def _filtered(code: int, flags: int = 0) -> Harm:
    def make(group: h5py.Group, name: str, values: np.ndarray, case: Case) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL if not flags else h5py.h5z.FLAG_MANDATORY, (1, 2, 3))
        space = h5py.h5s.create_simple((16,))
        made = h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plist)
        made.write_direct_chunk((0,), b"zq7x" * 4)

    return _replaced(make)


def _attribute(name: str, value: Callable[[h5py.File], object]) -> Harm:
    def harm(file: h5py.File, place: str, case: Case) -> None:
        for item in (file, file[place], file[place].parent):
            item.attrs[name] = value(file)

    return harm


def _many_attributes(file: h5py.File, place: str, case: Case) -> None:
    for number in range(500):
        file[place].attrs[f"{TOKEN}{number}"] = number


def _large_attribute(file: h5py.File, place: str, case: Case) -> None:
    file[place].attrs["zq7x"] = "x" * 60_000


def _many(file: h5py.File, place: str, case: Case) -> None:
    group = file[place].parent
    for number in range(1_000):
        group.create_dataset(f"zq7x{number}", data=np.ones((2, 2, 3, 3), "f4")).attrs["order"] = number + 10


def _deep(file: h5py.File, place: str, case: Case) -> None:
    group = file[place].parent
    for _ in range(500):
        group = group.create_group("zq7x")


def _cycle(file: h5py.File, place: str, case: Case) -> None:
    file["zq7x"] = file["/"]
    file[place].parent["zq7x again"] = file["/"]


def _renamed(text: str) -> Harm:
    def harm(file: h5py.File, place: str, case: Case) -> None:
        file[place].parent[text] = file[place]
        del file[place]

    return harm


def _valued(value: float) -> Harm:
    return _replaced(
        lambda g, n, v, c: g.create_dataset(
            n, data=np.full(v.shape, value).astype(v.dtype) if v.dtype.kind == "f" else v
        )
    )


HARMS: dict[str, tuple[str, Harm]] = {
    "external link": ("CVE-2026-1669 (Keras)", _linked(lambda c: h5py.ExternalLink(str(c.secret), "/"))),
    "external link to nowhere": ("CVE-2026-1669", _linked(lambda c: h5py.ExternalLink("/etc/passwd", "/"))),
    "external link to itself": (
        "a link without end",
        _linked(lambda c: h5py.ExternalLink("../dumps/a.h5", "/filters")),
    ),
    "soft link": ("Keras #22900", _linked(lambda c: h5py.SoftLink("/"))),
    "soft link to nowhere": ("Keras #22900", _linked(lambda c: h5py.SoftLink("/zq7x"))),
    "external storage": ("CVE-2026-1669: external storage", _external("{secret}")),
    "external storage of /etc/passwd": ("CVE-2026-1669", _external("/etc/passwd")),
    "external storage, relative": ("CVE-2026-1669", _external("../../../outside/secret.bin")),
    "virtual dataset": ("Keras #22976", _virtual("{secret}")),
    "virtual dataset of itself": ("Keras #22976", _virtual(".")),
    "objects": ("pickled objects", _typed(h5py.vlen_dtype(np.dtype("u1")))),
    "text": ("another type", _typed(h5py.string_dtype())),
    "fixed text": ("another type", _typed("S10")),
    "references": ("h5py's own suite", _typed(h5py.ref_dtype)),
    "region references": ("h5py's own suite", _typed(h5py.regionref_dtype)),
    "compound": (
        "h5py's own suite",
        _typed(np.dtype([("zq7x", "f4"), ("b", "O")] if False else [("zq7x", "f4"), ("b", "i8")])),
    ),
    "enum": ("h5py's own suite", _typed(h5py.enum_dtype({"zq7x": 1}))),
    "opaque": ("h5py's own suite", _typed(h5py.opaque_dtype(np.dtype("datetime64[s]")))),
    "array type": ("h5py's own suite", _typed(np.dtype(("f4", (1000, 1000))))),
    "complex": ("another type", _typed("c16")),
    "half": ("another type", _typed("f2")),
    "big-endian": ("another order", _typed(">f8")),
    "long double": ("another type", _typed("f16")),
    "boolean": ("another type", _typed("?")),
    "vlen of vlen": ("h5py's own suite", _typed(h5py.vlen_dtype(np.dtype("f8")))),
    "terabyte": ("Keras #22975: a shape bomb", _shaped((1 << 38,), chunks=(1 << 20,))),
    "2^62": ("a shape that overflows", _shaped((1 << 31, 1 << 29), chunks=(1, 1024))),
    "3 GB": ("Keras #22975", _shaped((1 << 28, 3), chunks=(1 << 16, 3))),
    "a stored bomb": ("issue 15.13: a gigabyte in a megabyte", _replaced(_bomb)),
    "no dimensions": ("a scalar", _shaped(())),
    "zero": ("an empty array", _shaped((0, 3, 3, 3), maxshape=(None, 3, 3, 3))),
    "zero channels": ("issue 15.10", _shaped((8, 0, 3, 3), maxshape=(None, None, 3, 3))),
    "32 dimensions": ("HDF5's most", _shaped((1,) * 32)),
    "null space": ("an empty dataspace", _replaced(lambda g, n, v, c: g.create_dataset(n, data=h5py.Empty("f4")))),
    "a group": ("another kind", _replaced(lambda g, n, v, c: g.create_group(n))),
    "a named type": ("another kind", _replaced(lambda g, n, v, c: g.__setitem__(n, np.dtype("f8")))),
    "absent": ("nothing", _replaced(lambda g, n, v, c: None)),
    "unknown filter": ("HDF5_PLUGIN_PATH", _filtered(40_000)),
    "unknown filter, needed": ("HDF5_PLUGIN_PATH", _filtered(40_000)),
    "Blosc": ("HDF5_PLUGIN_PATH", _filtered(32001)),
    "bitshuffle": ("HDF5_PLUGIN_PATH", _filtered(32008)),
    "deflate of nonsense": ("a chunk that does not unpack", _filtered(1)),
    "szip of nonsense": ("a chunk that does not unpack", _filtered(2)),
    "checksum of nonsense": ("a chunk that does not unpack", _filtered(3)),
    "nbit of nonsense": ("a chunk that does not unpack", _filtered(5)),
    "scaleoffset of nonsense": ("a chunk that does not unpack", _filtered(6)),
    "attribute order text": ("a wrong attribute", _attribute("order", lambda f: "zq7x")),
    "attribute order float": ("a wrong attribute", _attribute("order", lambda f: 1e308)),
    "attribute order list": ("a wrong attribute", _attribute("order", lambda f: np.zeros(10))),
    "attribute order 2^63": ("a wrong attribute", _attribute("order", lambda f: np.uint64(1 << 63))),
    "attribute reference": ("a wrong attribute", _attribute("order", lambda f: f.ref)),
    "attribute escape": ("control characters", _attribute("kind", lambda f: "\x1b]0;zq7x\x07")),
    "attribute HTML": ("markup", _attribute("kind", lambda f: "<script>zq7x</script>")),
    "attribute schema": ("another schema", _attribute("schema", lambda f: "\x1b[31mzq7x")),
    "attribute parameters": ("no JSON", _attribute("parameters", lambda f: "[" * 50_000)),
    "attribute empty": ("an empty attribute", _attribute("parameters", lambda f: h5py.Empty("f4"))),
    "attribute model": ("another name", _attribute("model_id", lambda f: "../../zq7x")),
    "attribute NaN": ("a wrong attribute", _attribute("conv_depth", lambda f: np.nan)),
    "attribute text for depth": ("a wrong attribute", _attribute("conv_depth", lambda f: "zq7x")),
    "500 attributes": ("many attributes", _many_attributes),
    "an attribute of 60 kB": ("a large attribute", _large_attribute),
    "1,000 arrays": ("many arrays", _many),
    "500 groups deep": ("deep groups", _deep),
    "a cycle": ("h5py's own suite: a group in itself", _cycle),
    "name with escapes": ("control characters", _renamed("\x1b]0;zq7x\x07")),
    "name of HTML": ("markup", _renamed("<script>zq7x</script>")),
    "name of markup": ("rich markup", _renamed("[red]zq7x[link=file:///etc/passwd]")),
    "name of 60 kB": ("a long name", _renamed("x" * 60_000)),
    "name of percents": ("an encoded name", _renamed("%2F%00%2E%zz")),
    "name of LaTeX": ("LaTeX", _renamed("\\input{zq7x}$^_%&#")),
    "NaN": ("issue 15.10", _valued(float("nan"))),
    "infinite": ("issue 15.10", _valued(float("inf"))),
    "denormal": ("issue 15.10", _valued(1e-45)),
    "largest": ("overflow", _valued(3.4e38)),
    "zeros": ("issue 15.10", _valued(0.0)),
}


def damage(count: int, seed: int) -> Iterator[tuple[str, str, Callable[[bytes], bytes]]]:
    """Bit flips in the first 4 kB and anywhere, cuts, and repeats: (name, source, change)."""
    chooser = random.Random(seed)
    for _ in range(count):
        where = chooser.randrange(4096 * 8)
        yield f"bit {where}", "issue 15.12: a flipped bit", lambda data, where=where: _flip(data, where)
    for _ in range(count // 4):
        share = chooser.random()
        yield f"bit at {share:.6f}", "a flipped bit", lambda data, share=share: _flip(data, int(share * len(data) * 8))
    for cut in (0, 1, 8, 100, 512, 2048, 4096, 8000):
        yield f"cut at {cut}", "a truncated file", lambda data, cut=cut: data[:cut]
        yield f"cut {cut} before the end", "issue 15.11", lambda data, cut=cut: data[: len(data) - cut - 1]
    for size in (512, 1024, 100_000):
        yield f"behind {size} bytes", "a user block", lambda data, size=size: bytes(size) + data
    for number in range(0, 256, 37):
        yield (
            f"superblock {number}",
            "another version",
            lambda data, number=number: data[:8] + bytes([number]) + data[9:],
        )
    yield "no HDF5", "another file", lambda data: b"\x80\x04cos\nsystem\n(S'zq7x'\ntR."
    yield "zeros", "another file", lambda data: bytes(len(data))


def _flip(data: bytes, bit: int) -> bytes:
    whole = bytearray(data)
    whole[(bit // 8) % len(whole)] ^= 1 << bit % 8
    return bytes(whole)


def harmed(path: Path, place: str, name: str, case: Case) -> None:
    """Apply one of `HARMS` to a file."""
    with h5py.File(path, "r+") as file:
        HARMS[name][1](file, place, case)
