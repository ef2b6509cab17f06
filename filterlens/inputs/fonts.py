"""FONTS: letters under known transformations, a data set whose manifold is known [Stutz2019]_.

An image is `decode(z, font, letter)`: the letter's prototype under the affine transformation z. The prototypes
were drawn once from 22 text faces that matplotlib ships and lie beside this file, so that no release of matplotlib
or FreeType changes the data.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from filterlens.errors import InputError
from filterlens.inputs.glyphs import LETTERS, SIDE, font_files, rasterise_folder
from filterlens.inputs.images import Images
from filterlens.process.digests import combined_digest, file_digest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "DIGEST",
    "FACES",
    "LATENTS",
    "LETTERS",
    "LOWER",
    "SIDE",
    "UPPER",
    "decode",
    "fonts_digest",
    "load_fonts",
    "load_prototypes",
    "warp",
]

FACES: Final = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
    "cmb10",
    "cmmi10",
    "cmr10",
    "cmss10",
    "cmti10",
    "cmtt10",
)
DIGEST: Final = "9b3ef9511fbc68ee07dd4e8d9748f6ff0d920c5ce184d01780e1652103bdb010"
LATENTS: Final = ("translation_x", "translation_y", "shear_x", "shear_y", "scale", "rotation")
LOWER: Final = (-0.2, -0.2, -0.5, -0.5, 0.75, -np.pi / 2)
UPPER: Final = (0.2, 0.2, 0.5, 0.5, 1.15, np.pi / 2)
_STREAMS: Final = {"train": 1, "test": 2}


def load_prototypes(fonts: Path | None = None) -> NDArray[np.float32]:
    """Read the letters that are transformed.

    Parameters
    ----------
    fonts
        A folder of `.ttf` files; None takes the 22 shipped faces, in the order of `FACES`.

    Returns
    -------
        Ink in [0, 1], shape (fonts, 10, 28, 28); not writeable.

    Raises
    ------
    InputError
        The shipped file is damaged, or the folder holds no usable fonts.
    """
    return _prototypes(fonts, fonts_digest(fonts))


def fonts_digest(fonts: Path | None = None) -> str:
    """Digest of the faces that letters are drawn from: of the files of a folder, or of the shipped ones.

    Raises
    ------
    InputError
        A file of the folder cannot be read.
    """
    if fonts is None:
        return DIGEST
    try:
        return combined_digest(("", file_digest(path)) for path in font_files(fonts))
    except OSError as error:
        raise InputError(f"--fonts {fonts} cannot be read ({error})") from error


@lru_cache(maxsize=4)
def _prototypes(fonts: Path | None, _digest: str) -> NDArray[np.float32]:
    if fonts is None:
        path = Path(__file__).with_suffix(".npz")
        with np.load(path, allow_pickle=False) as archive:
            ink: NDArray[np.uint8] = archive["prototypes"]
        digest = sha256(ink.tobytes()).hexdigest()
        if digest != DIGEST:
            raise InputError(
                f"the letters in {path} have the digest {digest[:12]}…, not {DIGEST[:12]}…: "
                "the file was changed; install filterlens again"
            )
    else:
        _, ink = rasterise_folder(fonts)
    prototypes = ink.astype(np.float32) / np.float32(255)
    prototypes.setflags(write=False)
    return prototypes


def decode(z: Tensor, font: Tensor, letter: Tensor, *, prototypes: Tensor | None = None) -> Tensor:
    """Draw letters: the true manifold, differentiable in z.

    The letter is sheared and scaled, turned, then moved: x_out = R(rotation) · scale · S · x_in + translation,
    S = [[1, shear_x], [shear_y, 1]], in coordinates where the image is [−1, 1]²; between pixels bilinear, outside 0.

    Parameters
    ----------
    z
        Affine parameters in the order of `LATENTS`, shape (n, 6), on any device.
    font, letter
        Indices of the prototype, int64, shape (n,).
    prototypes
        From `load_prototypes`, shape (fonts, 10, 28, 28); None takes the shipped ones.

    Returns
    -------
        Images in [0, 1], shape (n, 1, 28, 28), of z's dtype and on its device.

    Notes
    -----
    z is not clipped to `LOWER` … `UPPER`: who optimises it projects it. A scale of 0 has no inverse.

    References
    ----------
    [Stutz2019]_, section 3.1.
    """
    import torch

    if prototypes is None:
        prototypes = torch.from_numpy(load_prototypes().copy())
    return warp(prototypes.to(z.device)[font, letter].to(z.dtype)[:, None], z)


def warp(images: Tensor, z: Tensor) -> Tensor:
    """Transform any images as `decode` transforms letters.

    Parameters
    ----------
    images
        Shape (n, channels, height, width).
    z
        Affine parameters in the order of `LATENTS`, shape (n, 6); (0, 0, 0, 0, 1, 0) changes nothing.

    Returns
    -------
        The transformed images, same shape; differentiable in both.
    """
    import torch
    from torch.nn import functional

    move_x, move_y, shear_x, shear_y, scale, angle = z.unbind(dim=1)
    cos, sin = angle.cos(), angle.sin()
    # grid_sample asks where an output pixel comes from: the inverse of the letter's transformation
    area = scale * (1 - shear_x * shear_y)
    inverse = torch.stack(
        [
            torch.stack([cos + shear_x * sin, sin - shear_x * cos], dim=1) / area[:, None],
            torch.stack([-sin - shear_y * cos, cos - shear_y * sin], dim=1) / area[:, None],
        ],
        dim=1,
    )  # (n, 2, 2)
    origin = -(inverse @ torch.stack([move_x, move_y], dim=1)[:, :, None])
    grid = functional.affine_grid(torch.cat([inverse, origin], dim=2), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def load_fonts(n: int, seed: int = 0, *, fonts: Path | None = None, split: Literal["train", "test"] = "test") -> Images:
    """Draw FONTS images: font, letter and transformation uniformly at random.

    Parameters
    ----------
    n
        How many.
    seed
        The same seed gives the same images on every machine, to 1e-6; more of them begin with the same ones.
    fonts
        A folder of `.ttf` files instead of the shipped faces (the paper: 1000 Google Fonts).
    split
        `train` and `test` are independent streams of the same seed.

    Returns
    -------
        Pixels (n, 1, 28, 28), labels = letters, latents (n, 6), conditions (n, 2) = font and letter.

    Raises
    ------
    InputError
        n or seed is negative, the split is unknown, or the fonts cannot be used.

    References
    ----------
    [Stutz2019]_, section 3.1.
    """
    if n < 0 or seed < 0 or split not in _STREAMS:
        raise InputError(
            f"FONTS needs n ≥ 0, a seed ≥ 0 and the split train or test; got n={n}, seed={seed}, split={split!r}"
        )
    import torch

    prototypes = load_prototypes(fonts)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _STREAMS[split]])))
    # one row of eight doubles an image: only `random` is used, whose stream NumPy keeps
    draws = rng.random((n, 8))
    low, high = np.asarray(LOWER), np.asarray(UPPER)
    latents = (low + (high - low) * draws[:, :6]).astype(np.float32)
    conditions = np.floor(draws[:, 6:] * (len(prototypes), len(LETTERS))).astype(np.int64)
    ink = torch.from_numpy(prototypes.copy())
    pixels = np.empty((n, 1, SIDE, SIDE), dtype=np.float32)
    for start in range(0, n, 1000):
        part = slice(start, start + 1000)
        # in float64, so that rounding does not tell machines apart
        z = torch.from_numpy(latents[part].astype(np.float64))
        which = torch.from_numpy(conditions[part])
        pixels[part] = decode(z, which[:, 0], which[:, 1], prototypes=ink).clamp(0, 1).to(torch.float32).numpy()
    return Images("fonts", pixels, conditions[:, 1].copy(), latents, conditions)
