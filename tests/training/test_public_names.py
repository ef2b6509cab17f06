"""The room's public names are there, and importing the room loads no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import filterlens.training as room


@pytest.mark.parametrize("name", room.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name: str) -> None:
    assert getattr(room, name).__doc__
    assert name in dir(room)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = room.Nothing


def test_importing_the_room_loads_no_torch() -> None:
    code = "import sys, filterlens.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
