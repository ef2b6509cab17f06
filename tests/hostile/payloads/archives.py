"""Archives of images for `train --data`, and published folders for `--corrupted`: `.npy` files and pictures."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator, Sequence

from hostile.payload import Case, Payload
from hostile.payloads.images import DESCRIPTIONS, SHAPES, npy, pictures, png

__all__ = ["payloads"]

_KINDS_OF_CORRUPTION = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
_IMAGES = npy("'|u1'", "(10, 28, 28, 1)", bytes(7840))
_LABELS = npy("'<i8'", "(10,)", bytes(80))
_PICTURE = png(28, 28)


def _packed(members: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def _classes(picture: bytes = _PICTURE, *, count: int = 8) -> list[tuple[str, bytes]]:
    return [(f"{split}/{name}/{n}.png", picture) for split in ("train", "test") for name in "ab" for n in range(count)]


_NAMES = (
    "../../zq7x.png", "/tmp/zq7x.png", "train/../../../zq7x.png", "C:\\zq7x.png", "train\\a\\zq7x.png", "train/a/x\0zq7x.png",
    "train/a/\x1b]0;zq7x\x07.png", "train/a/\u202egnp.x7qz", "train/a/" + "n" * 60_000 + ".png", "train//zq7x.png",
    "train/" + "d/" * 20_000 + "zq7x.png", "__import__('zq7x').png", "train/a/..", ".", "train/a/zq7x.png ", "~/zq7x.png",
    "$(touch zq7x).png", "train/a/zq7x.eps", "train/a/zq7x.pkl", "train/a/zq7x.svg", "con.png", "train/\ud7ff/zq7x.png",
)  # fmt: skip


def _archives() -> Iterator[tuple[str, str, bytes]]:
    good = _classes()
    for number, name in enumerate(_NAMES):
        yield f"name {number}", "zip slip and names of nonsense", _packed([*good, (name, _PICTURE)])
    link = zipfile.ZipInfo("train/a/zq7x.png")
    link.external_attr = 0o120777 << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in good:
            archive.writestr(name, content)
        archive.writestr(link, "/etc/passwd")
    yield "a link", "a symbolic link in the archive", out.getvalue()
    whole = _packed(good)
    for cut in range(1, 12):
        yield f"cut {cut} of 12", "truncated", whole[: len(whole) * cut // 12]
    for place in range(0, 46, 2):
        changed = bytearray(whole)
        start = whole.rindex(b"PK\1\2") + place
        changed[start : start + 2] = b"\xff\xff"
        yield f"entry, bytes {place}", "a directory's entry that lies", bytes(changed)
        changed = bytearray(whole)
        changed[place : place + 2] = b"\xff\xff"
        yield f"header, bytes {place}", "a file's header that lies", bytes(changed)
    for place in range(4, 22, 2):
        changed = bytearray(whole)
        start = whole.rindex(b"PK\5\6") + place
        changed[start : start + 2] = b"\xff\xff"
        yield f"end, bytes {place}", "an end record that lies", bytes(changed)
    yield "a bomb", "100 MB of nothing", _packed([*good, ("train/a/zq7x.png", bytes(100 << 20))], zipfile.ZIP_DEFLATED)
    yield "bombs", "files of 30 MB", _packed(_classes(bytes(30 << 20), count=4), zipfile.ZIP_DEFLATED)
    yield "lzma", "another compression", _packed(good, zipfile.ZIP_LZMA)
    yield "bzip2", "another compression", _packed(good, zipfile.ZIP_BZIP2)
    yield "50,000 empty files", "many files", _packed([*good, *((f"train/a/e{n}.png", b"") for n in range(50_000))])
    yield "10,000 classes", "many folders", _packed([(f"train/c{n}/0.png", _PICTURE) for n in range(10_000)])
    yield "twice", "a name twice", whole.replace(b"train/a/1.png", b"train/a/0.png")
    yield "no pictures", "nothing to train on", _packed([("train/a/x.txt", b"zq7x")])
    yield "one class", "nothing to tell apart", _packed([(f"train/a/{n}.png", _PICTURE) for n in range(20)])
    yield "zip64", "a directory of 2^64 bytes", whole[:-22] + b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 1 << 62, 0) + b"PK\6\7" + struct.pack("<IQI", 0, len(whole) - 22, 1) + whole[-22:]  # fmt: skip
    yield "two directories", "readers that disagree", whole + whole
    yield "behind a pickle", "another file first", b"cos\nsystem\n(S'zq7x'\ntR." + whole
    yield "another file", "a tar archive's name", b"\x1f\x8b" + bytes(500)
    yield "empty", "no bytes", b""


def _published(case: Case, images: bytes, labels: bytes) -> None:
    folder = case.folder / "corrupted"
    folder.mkdir()
    (folder / "labels.npy").write_bytes(labels)
    for name in _KINDS_OF_CORRUPTION:
        (folder / f"{name}.npy").write_bytes(images)


def _arrays() -> Iterator[tuple[str, bytes, bytes]]:
    for descr in DESCRIPTIONS:
        for shape in SHAPES:
            yield f"images {descr[:20]} {shape[:24]}", npy(descr, shape, bytes(7840)), _LABELS
            yield f"labels {descr[:20]} {shape[:24]}", _IMAGES, npy(descr, shape, bytes(80))
    for version in range(6):
        head = bytes((version, 0))
        yield f"version {version}", npy("'|u1'", "(10, 28, 28, 1)", bytes(7840), head), _LABELS
    yield "pickle", b"cos\nsystem\n(S'zq7x'\ntR.", _LABELS
    yield "labels pickle", _IMAGES, b"cos\nsystem\n(S'zq7x'\ntR."
    yield "empty", b"", _LABELS
    yield "short", _IMAGES[:-1], _LABELS
    yield "long", _IMAGES + bytes(1 << 20), _LABELS
    yield "labels of 2^62", _IMAGES, npy("'<i8'", "(10,)", b"\xff\xff\xff\xff\xff\xff\xff\x3f" * 10)
    yield "labels below 0", _IMAGES, npy("'<i8'", "(10,)", b"\xff" * 80)


def _imagenet_c(case: Case, data: bytes, suffix: str) -> None:
    for name in _KINDS_OF_CORRUPTION:
        for severity in range(1, 6):
            place = case.folder / "corrupted" / name / str(severity) / "n01440764"
            place.mkdir(parents=True)
            (place / f"ILSVRC2012_val_00000293{suffix}").write_bytes(data)


def payloads() -> Iterator[Payload]:
    """Archives and published folders."""
    for name, about, data in _archives():
        yield Payload(
            "zip", name, about, lambda c, d=data: (c.folder / "m.zip").write_bytes(d) and None, "m.zip", ("training",)
        )
    for name, images, labels in _arrays():
        yield Payload(
            "npy", name, "numpy's own suite: headers",
            lambda c, i=images, of=labels: _published(c, i, of), "corrupted", ("corrupted",),
        )  # fmt: skip
    for name, about, make in pictures():
        for suffix in (".JPEG", ".png"):
            yield Payload(
                "imagenet-c", f"{name} as {suffix}", about,
                lambda c, m=make, s=suffix: _imagenet_c(c, m(c), s), "corrupted", ("corrupted",),
            )  # fmt: skip
