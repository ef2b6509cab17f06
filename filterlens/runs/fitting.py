"""Images as a model takes them: resized where its size is another, refused where its channels are."""

from __future__ import annotations

from filterlens.errors import InputError
from filterlens.inputs import Images, check_fits, resize_images
from filterlens.loaders.model import LoadedModel
from filterlens.tracing.sizes import size_taken

__all__ = ["fit_images"]


def fit_images(model: LoadedModel, images: Images) -> tuple[Images, str]:
    """Return images as a model takes them, and what was done to them, in words; empty where nothing was.

    Parameters
    ----------
    model
        Its input size is what its source says; where that says nothing, the size that its network runs on.
    images
        As they were read.

    Raises
    ------
    InputError
        The model takes other channels, runs at no size, or takes another size than that of the manifold which the
        images lie on; the message says what it takes.
    """
    channels, height, width = images.pixels.shape[1:]
    if model.input_size is not None:
        if model.input_size[0] != channels:
            check_fits(images, model.input_size)
        size = model.input_size[1:]
    elif model.classifier is not None:
        try:
            size = size_taken(model.classifier, (channels, height, width))
        except InputError as error:
            raise InputError(f"{model.model_id}: {error}") from error
    else:
        size = (height, width)  # the lens says that weights do not run
    if size == (height, width):
        return images, ""
    if images.latents is not None:
        check_fits(images, (channels, *size))
    said = f"images resized from {height}x{width} to {size[0]}x{size[1]}"
    return resize_images(images, size), said
