"""Strictness for every test: mixed ranks raise, warnings are errors (pyproject.toml), JAX sees one CPU device."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests.worlds import random_world

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def world(tmp_path):
    """A small random World of 60 users and 40 items."""
    return random_world(tmp_path / "world")


CACHE = {"jax_compilation_cache_dir": "", "jax_persistent_cache_min_compile_time_secs": 0.0}


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """For tests that train the same step again and again, where compiling it takes longer than training."""
    before = {name: getattr(jax.config, name) for name in CACHE}
    for name, value in CACHE.items():
        jax.config.update(name, str(tmp_path_factory.mktemp("compiled")) if value == "" else value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
