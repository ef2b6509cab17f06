"""Which filter sizes a lens looks at: 3x3 where a network has them, else the network's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from filterlens.errors import InputError, LensSkipped

if TYPE_CHECKING:
    from filterlens.tracing.convolutions import Convolution

__all__ = ["choose_convolutions", "choose_kernel", "kernel_note", "main_kernel"]

Size = tuple[int, int]


def main_kernel(kernels: Iterable[Size]) -> Size:
    """Return the filter size that speaks for a network: means and distributions are of it alone.

    Parameters
    ----------
    kernels
        Height and width of each convolution, in order.

    Returns
    -------
        3x3 where there is one, else the most frequent square one larger than 1x1, else the most frequent larger than
        1x1, the first of several; else 1x1.

    Examples
    --------
    >>> main_kernel([(4, 4), (7, 7), (7, 7), (2, 2), (1, 1)])
    (7, 7)
    """
    counts = Counter(kernel for kernel in kernels if kernel != (1, 1))
    if (3, 3) in counts:
        return 3, 3
    square = Counter({kernel: n for kernel, n in counts.items() if kernel[0] == kernel[1]})
    common = (square or counts).most_common(1)
    return common[0][0] if common else (1, 1)


def choose_kernel(text: str, kernels: Sequence[Size]) -> Callable[[Size], bool]:
    """Turn the option `kernel` into a test of a filter's height and width.

    Parameters
    ----------
    text
        `auto` (see `main_kernel`), a size such as `3x3`, or `all` (larger than 1x1).
    kernels
        Of all convolutions of the network.

    Raises
    ------
    InputError
        The text is none of these.

    Examples
    --------
    >>> choose_kernel("all", [])((1, 7)), choose_kernel("3x3", [])((5, 5)), choose_kernel("auto", [(5, 5)])((5, 5))
    (True, False, True)
    """
    if text == "all":
        return lambda kernel: kernel != (1, 1)
    if text == "auto":
        main = main_kernel(kernels)
        return lambda kernel: kernel == main != (1, 1)
    size = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if size is None:
        raise InputError(f"--kernel {text!r} is no filter size: give one such as 3x3, all, or auto")
    wanted = (int(size[1]), int(size[2]))
    return lambda kernel: kernel == wanted


def choose_convolutions(layers: Sequence[Convolution], kernel: str, model_id: str) -> list[Convolution]:
    """Return the convolutions whose filters the option `kernel` wants.

    Parameters
    ----------
    layers
        All convolutions of a network, in order.
    kernel
        The option, see `choose_kernel`.
    model_id
        How a message names the network.

    Raises
    ------
    InputError
        The option is no filter size.
    LensSkipped
        There is no such convolution.
    """
    kernels = [layer.kernel for layer in layers]
    wanted = choose_kernel(kernel, kernels)
    if chosen := [layer for layer in layers if wanted(layer.kernel)]:
        return chosen
    raise LensSkipped(_describe_missing(model_id, kernel, kernels))


def _describe_missing(model_id: str, kernel: str, kernels: Sequence[Size]) -> str:
    """Say that a model has no convolution with the wanted filters, and which it has."""
    if not kernels:
        return f"{model_id} holds no convolution weights: there are no filters to look at"
    counts = (f"{n} of {height}x{width}" for (height, width), n in Counter(kernels).most_common(5))
    wanted = "larger than 1x1" if kernel in {"all", "auto"} else f"with {kernel} filters"
    hint = "" if kernel in {"all", "auto"} else "; choose another --kernel, all, or auto"
    return f"{model_id} holds no convolution {wanted}, only {', '.join(counts)}{hint}"


def kernel_note(main: Size) -> tuple[str, ...]:
    """Say in a row's note that a model's means are not of 3x3 filters, where they are not."""
    return () if main == (3, 3) else (f"means are of {main[0]}x{main[1]} filters, not 3x3",)
