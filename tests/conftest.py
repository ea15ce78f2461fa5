"""Strictness for every test: mixed ranks raise, warnings are errors (pyproject.toml), JAX sees one CPU device."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

from tests.worlds import random_world

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def world(tmp_path):
    """A small random World of 60 users and 40 items."""
    return random_world(tmp_path / "world")
