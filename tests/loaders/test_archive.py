"""Tar archives: one file is copied out, nothing leaves its folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from loaders.conftest import Load

from filterlens.errors import CheckpointError, UnsafeCheckpointError


def _checkpoint() -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {"model.conv.weight": torch.ones(1, 1, 3, 3)}}, file)
    return file.getvalue()


def _tar(path: Path, members: dict[str, bytes], more: Callable[[tarfile.TarInfo], None] | None = None) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if more is not None and not content:
                more(info)
            archive.addfile(info, io.BytesIO(content))


def test_a_lightning_checkpoint_is_found_in_its_archive(tmp_path: Path, load: Load) -> None:
    inside = "robustbench_X/version_0/checkpoints/epoch=1.ckpt"
    _tar(tmp_path / "m.tar", {"robustbench_X/version_0/hparams.yaml": b"lr: 1", inside: _checkpoint()})
    model = load("m.tar")
    assert list(model.weights) == ["conv.weight"]
    # mapped, and still there although the temporary file is not
    assert model.weights["conv.weight"].sum() == 9


@pytest.mark.parametrize("name", ["../evil.ckpt", "/tmp/evil.ckpt", "a/../../evil.ckpt", "..\\evil.ckpt"])
def test_a_member_that_points_out_is_refused_and_not_written(name: str, tmp_path: Path, load: Load) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    _tar(folder / "m.tar", {name: _checkpoint()})
    with pytest.raises(UnsafeCheckpointError, match="points out of its folder"):
        load("inner/m.tar")
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/evil.ckpt").exists()


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(kind: bytes, tmp_path: Path, load: Load) -> None:
    _tar(tmp_path / "m.tar", {"m.ckpt": b""}, lambda info: setattr(info, "type", kind))
    with pytest.raises(UnsafeCheckpointError, match="is a device"):
        load("m.tar")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_is_not_followed(kind: bytes, tmp_path: Path, load: Load) -> None:
    torch.save({"secret.weight": torch.ones(2, 2)}, tmp_path / "secret.ckpt")

    def link(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, str(tmp_path / "secret.ckpt")

    _tar(tmp_path / "m.tar", {"m.ckpt": b""}, link)
    with pytest.raises(CheckpointError, match="there is none"):
        load("m.tar")


def test_several_checkpoints_are_an_error_that_names_them(tmp_path: Path, load: Load) -> None:
    _tar(tmp_path / "m.tar", {"a.ckpt": _checkpoint(), "b.ckpt": _checkpoint()})
    with pytest.raises(CheckpointError, match=r"there is a\.ckpt, b\.ckpt"):
        load("m.tar")


def test_a_member_larger_than_the_archive_is_refused(tmp_path: Path, load: Load) -> None:
    path = tmp_path / "m.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("m.ckpt")
        info.size = 1 << 40
        archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(CheckpointError, match=r"declares more than the archive holds|cannot be unpacked"):
        load("m.tar")


def test_a_truncated_archive_is_refused(tmp_path: Path, load: Load) -> None:
    _tar(tmp_path / "m.tar", {"m.ckpt": _checkpoint()})
    content = (tmp_path / "m.tar").read_bytes()
    (tmp_path / "m.tar").write_bytes(content[:900])
    with pytest.raises(CheckpointError, match=r"declares more than the archive holds|cannot be unpacked"):
        load("m.tar")


def test_a_compressed_archive_is_no_checkpoint(tmp_path: Path, load: Load) -> None:
    with tarfile.open(tmp_path / "m.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("m.ckpt"))
    with pytest.raises(CheckpointError, match="no checkpoint that can be read"):
        load("m.tar")
