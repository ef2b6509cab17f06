"""The descriptors of the downsampling lens agree with what its analyzer yields."""

from __future__ import annotations

from filterlens.scores.downsampling import SCORES

from filterlens.lenses.downsampling.aliasing import AliasingMeans


def test_every_metric_of_the_analyzer_has_a_descriptor_and_the_other_way_round() -> None:
    assert [score.name for score in SCORES] == list(AliasingMeans().values)
    assert {score.lens for score in SCORES} == {"downsampling"}
