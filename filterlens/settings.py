"""Settings of an extraction: what a user may turn, with the defaults of the papers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How lenses extract. Each lens reads its own part and names it in `Lens.settings`.

    Parameters
    ----------
    seed
        Of everything random.
    device
        `cpu`, `cuda`, `cuda:1`, …
    batch_size
        Images in one forward pass.
    images
        How many images the lens looks at; None is the lens's own default.
    data
        Where images come from: `fonts`, `cifar10`, a `.npz`, a folder, …; empty is the catalog's data set.
    fast
        Fewer steps and restarts than the papers; named in the output.
    kernel
        `3x3`, another `k x k`, or `all` kernels larger than 1x1 (filters lens).
    fold_batchnorm
        Score convolution and BatchNorm folded into one, as an ONNX export has them (filters lens).
    channels
        Feature maps kept a layer, chosen by the seed; None keeps all (downsampling lens).
    autoattack
        Run AutoAttack's standard version too (robustness lens).
    as_published
        Flatness as the published code measures it, not as the paper defines it (flatness lens).
    bf16
        Forward passes of attacked models in bfloat16; its effect is reported beside the scores (robustness and
        flatness lenses).
    manifold
        `fonts`, `neighbours`, a learned decoder's file or `module:…`; empty chooses by data (manifold lens).
    fonts
        Folder of `.ttf` files instead of matplotlib's fonts.
    trust_pickle
        Let a checkpoint run code when it is loaded.
    allow_code
        Let `module:` sources of a catalog run code.
    """

    seed: int = 0
    device: str = "cpu"
    batch_size: int = 64
    images: int | None = None
    data: str = ""
    fast: bool = False
    kernel: str = "3x3"
    fold_batchnorm: bool = False
    channels: int | None = 64
    autoattack: bool = False
    as_published: bool = False
    bf16: bool = False
    manifold: str = ""
    fonts: Path | None = None
    trust_pickle: bool = False
    allow_code: bool = False

    def part(self, names: tuple[str, ...]) -> dict[str, object]:
        """Return the named settings as plain JSON values: what decides a lens's numbers."""
        every = asdict(self)
        return {name: str(every[name]) if isinstance(every[name], Path) else every[name] for name in names}
