"""Images in a `.zip` archive with one folder a class, which is not unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filterlens.errors import InputError
from filterlens.inputs.reading import open_regular

__all__ = ["ZipMember", "is_zip", "zip_members"]


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One file of an open archive.

    Parameters
    ----------
    archive
        The archive, open as long as the member is read.
    path
        The archive's path.
    info
        What the archive says of the member.
    parts
        Folders and name in the archive.
    """

    archive: zipfile.ZipFile
    path: Path
    info: zipfile.ZipInfo
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}:{self.info.filename}"

    def read(self, most: int) -> bytes:
        """Read it whole.

        Raises
        ------
        ValueError
            It has more than `most` bytes.
        """
        with self.archive.open(self.info) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"more than {most} bytes")
        return content


def is_zip(path: Path) -> bool:
    """Whether a path names a `.zip` archive."""
    return path.suffix.lower() == ".zip"


@contextmanager
def zip_members(path: Path, most: int) -> Iterator[list[ZipMember]]:
    """Open an archive; give its files, sorted by name.

    Parameters
    ----------
    path
        The archive.
    most
        How many files it may hold.

    Raises
    ------
    InputError
        It is no archive, is damaged, or holds more.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) > most:
                raise InputError(f"{path} holds more than {most} files: give one with fewer")
            infos.sort(key=lambda info: info.filename)
            yield [ZipMember(archive, path, info, tuple(info.filename.split("/"))) for info in infos]
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} cannot be read as a .zip archive ({error})") from error
