"""Source URIs to models: `load_model` reads where a catalog entry points, and runs nothing that it reads."""

from __future__ import annotations

from filterlens.loaders.digest import absolute_source, code_digest, local_files, source_digest
from filterlens.loaders.registry import (
    Request,
    Source,
    load_model,
    parse_source,
    remote_files,
    schemes,
    split_member,
    summaries,
)

__all__ = [
    "Request",
    "Source",
    "absolute_source",
    "code_digest",
    "load_model",
    "local_files",
    "parse_source",
    "remote_files",
    "schemes",
    "source_digest",
    "split_member",
    "summaries",
]
