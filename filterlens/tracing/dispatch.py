"""Watching a network's ATen calls without loading torch's compiler."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Watching"]


class Watching(TorchDispatchMode):
    """A dispatch mode that torch does not wrap against its compiler.

    Wrapping imports `torch._dynamo`, a second and 150 MB in every process, at the first call that is watched. Nothing
    here is compiled. Versions of torch that know no such question do not wrap.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
