"""Tar archives around a checkpoint: the one file is copied out under a name of ours, nothing else is unpacked."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from filterlens.catalogs.trajectories import SUFFIXES
from filterlens.errors import CheckpointError, UnsafeCheckpointError
from filterlens.loaders.tar import DamagedTar, TarMember, members

__all__ = ["checkpoint_inside"]

_SUFFIXES: Final = tuple(suffix for suffix in SUFFIXES if suffix not in {".tar", ".onnx"})
_BLOCK: Final = 1 << 20


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
            with path.open("rb") as archive:
                member = _choose(list(members(archive, path.stat().st_size)), path)
                out = Path(work) / f"checkpoint{PurePosixPath(member.name).suffix.lower()}"
                archive.seek(member.offset)
                with out.open("wb") as file:
                    for place in range(0, member.size, _BLOCK):
                        file.write(archive.read(min(_BLOCK, member.size - place)))
        except (DamagedTar, OSError) as error:
            raise CheckpointError(f"{path} cannot be unpacked ({error}): fetch it again, or make room") from error
        yield out


def _choose(found: list[TarMember], path: Path) -> TarMember:
    for member in found:
        _check_member(member, path)
    files = [member for member in found if member.is_file and PurePosixPath(member.name).suffix.lower() in _SUFFIXES]
    if len(files) != 1:
        names = ", ".join(member.name[-100:] for member in files[:5]) or "none"
        raise CheckpointError(
            f"{path} is an archive; exactly one of {' '.join(_SUFFIXES)} was expected in it, and there is {names}: "
            "unpack it and give the file"
        )
    return files[0]


def _check_member(member: TarMember, path: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        raise UnsafeCheckpointError(
            f"{path}: its member {member.name[-100:]!r} points out of its folder: it is not unpacked"
        )
    if member.is_device:
        raise UnsafeCheckpointError(f"{path}: its member {member.name[-100:]!r} is a device: it is not unpacked")
