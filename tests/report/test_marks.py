"""How models are told apart in figures."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from filterlens.report.inline import inline_image
from filterlens.report.marks import MARKS, by_mark


@pytest.mark.parametrize("robust", [[True, True], [False], [True, False, None], []])
def test_models_are_told_apart_whatever_the_columns_are_called(robust: list[bool | None]) -> None:
    models = pd.DataFrame({"robust": pd.Series(robust, dtype=object), "normal": 1.0, "x": range(len(robust))})
    found = {mark.label: list(part["x"]) for mark, part in by_mark(models)}
    expected: dict[str, list[int]] = {}
    for place, one in enumerate(robust):
        expected.setdefault({True: "robust", False: "normal", None: "unknown"}[one], []).append(place)
    assert found == expected


def test_colours_of_marks_survive_the_256_colours_of_a_page() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    colours = np.array([[int(mark.colour[i : i + 2], 16) for i in (1, 3, 5)] for mark in MARKS.values()])
    pixels[0, : len(colours)] = colours
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    small, width, height = inline_image(png.getvalue())
    shown = np.asarray(Image.open(io.BytesIO(small)).convert("RGB"))
    assert (width, height) == (100, 100)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 256
    assert np.array_equal(shown[0, : len(colours)], colours)
