"""A seeded part of the hostile collection: images, fonts, manifolds, catalogs and servers."""

from __future__ import annotations

import pytest

from hostile.run import offences

pytestmark = pytest.mark.timeout(1800)


def test_images_fonts_manifolds_catalogs_and_servers_do_no_harm() -> None:
    assert not offences(["data", "manifold", "catalog", "server"], sample=5)
