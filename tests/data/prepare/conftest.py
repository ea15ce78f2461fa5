"""The World of the small tables, prepared once a file of tests."""

from __future__ import annotations

import pytest

from socialrec_jax.data.world import World
from tests.data.prepare.small_tables import make, write_tables


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("reference")
    return make(write_tables(folder / "raw", "parquet"), folder / "world")
