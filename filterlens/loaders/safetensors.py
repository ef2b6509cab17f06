"""Safetensors files: a header and bytes, mapped into memory, nothing to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from filterlens.errors import CheckpointError

__all__ = ["read_safetensors"]


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Read tensors and the header's metadata.

    Parameters
    ----------
    path
        The file; its tensors are mapped, not copied.

    Raises
    ------
    CheckpointError
        It is damaged, or its header lies about the bytes that follow.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file that can be read ({str(error)[:200]}): fetch it again or save it anew"
        ) from error
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors: save the network's state_dict() in it")
    return tensors, metadata
