"""Tar archives around a checkpoint: the one file is copied out under a name of ours, nothing else is unpacked."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from filterlens.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["checkpoint_inside", "is_tar"]

_SUFFIXES: Final = (".pt", ".pth", ".th", ".ckpt", ".bin", ".safetensors")
_MEMBERS: Final = 10_000


def is_tar(path: Path) -> bool:
    """Whether the file is a plain tar archive, whatever its name: many `.tar` files are `torch.save` files."""
    try:
        with tarfile.open(path, "r:") as archive:
            return archive.next() is not None
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return False


@contextlib.contextmanager
def checkpoint_inside(path: Path) -> Iterator[Path]:
    """Copy the archive's one checkpoint into a temporary folder.

    Mapped tensors stay valid after the folder is gone, until they are dropped.

    Parameters
    ----------
    path
        An uncompressed tar archive: no member can be larger than the archive.

    Raises
    ------
    UnsafeCheckpointError
        A member points out of the folder, or is a device.
    CheckpointError
        It is damaged, or does not hold exactly one checkpoint.
    """
    with tempfile.TemporaryDirectory(prefix="filterlens-") as work:
        try:
            with tarfile.open(path, "r:") as archive:
                member = _choose(archive, path)
                source = archive.extractfile(member)
                out = Path(work) / f"checkpoint{PurePosixPath(member.name).suffix.lower()}"
                if source is None:
                    raise CheckpointError(f"{path}: {member.name} cannot be read: fetch it again")
                with source, out.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
        except (tarfile.TarError, EOFError, ValueError, OSError) as error:
            raise CheckpointError(f"{path} cannot be unpacked ({error}): fetch it again, or make room") from error
        yield out


def _choose(archive: tarfile.TarFile, path: Path) -> tarfile.TarInfo:
    size = path.stat().st_size
    found: list[tarfile.TarInfo] = []
    for count, member in enumerate(archive):
        if count >= _MEMBERS:
            raise CheckpointError(f"{path} has more than {_MEMBERS} members: it is not trusted")
        _check_member(member, path, size)
        if member.isreg() and PurePosixPath(member.name).suffix.lower() in _SUFFIXES:
            found.append(member)
    if len(found) != 1:
        names = ", ".join(member.name for member in found[:5]) or "none"
        raise CheckpointError(
            f"{path} is an archive; exactly one of {' '.join(_SUFFIXES)} was expected in it, and there is {names}: "
            "unpack it and give the file"
        )
    return found[0]


def _check_member(member: tarfile.TarInfo, path: Path, size: int) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        raise UnsafeCheckpointError(f"{path}: its member {member.name!r} points out of its folder: it is not unpacked")
    if member.ischr() or member.isblk() or member.isfifo():
        raise UnsafeCheckpointError(f"{path}: its member {member.name!r} is a device: it is not unpacked")
    if member.isreg() and (member.issparse() or member.offset_data + member.size > size):
        raise CheckpointError(
            f"{path}: its member {member.name!r} declares more than the archive holds: fetch it again"
        )
