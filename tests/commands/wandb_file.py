"""The records of a `.wandb` file: blocks of a log as LevelDB has them, which hold messages of the client's own classes.

The client (0.31) has no reader that Python can call: its `DataStore` is gone, `wandb.beta.LocalApi` not released.
"""

from __future__ import annotations

import json
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

_BLOCK = 32768
_HEAD = 7  # of the file, and of each piece: crc, length, type
_WHOLE, _FIRST, _LAST = 1, 2, 4


def read_wandb(path: Path) -> dict[str, Any]:
    """Return a run's name, group, kind, configuration, and what was logged: `history`, by step."""
    messages: Any = import_module("wandb.proto.wandb_internal_pb2")
    found: dict[str, Any] = {"config": {}, "history": {}, "files": []}
    for content in _messages(path.read_bytes()):
        record = messages.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found |= {"name": run.display_name, "group": run.run_group, "kind": run.job_type, "id": run.run_id}
            found |= {"project": run.project}
            found["config"] |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif kind == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found["history"].setdefault(record.history.step.num, {}).update(items)
    return found


def _messages(content: bytes) -> list[bytes]:
    assert content[:4] == b":W&B"
    place, parts, found = _HEAD, b"", []
    while place + _HEAD <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEAD:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + _HEAD])
        if not kind:
            break
        parts = (b"" if kind in {_WHOLE, _FIRST} else parts) + content[place + _HEAD : place + _HEAD + length]
        place += _HEAD + length
        if kind in {_WHOLE, _LAST}:
            found.append(parts)
    return found
