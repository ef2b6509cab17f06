"""Images at another size, for networks that take no other."""

from __future__ import annotations

from dataclasses import replace

from filterlens.inputs.images import Images

__all__ = ["resize_images"]


def resize_images(images: Images, size: tuple[int, int]) -> Images:
    """Return the images at another size, bilinear and antialiased; the same object where they have it already.

    Parameters
    ----------
    images
        Those of a known manifold lie on it no longer, and lose their positions.
    size
        Height and width.
    """
    if images.pixels.shape[2:] == size:
        return images
    import torch

    pixels = torch.nn.functional.interpolate(
        torch.from_numpy(images.pixels), size, mode="bilinear", antialias=True, align_corners=False
    )
    return replace(images, pixels=pixels.clamp_(0, 1).numpy(), latents=None, conditions=None)
