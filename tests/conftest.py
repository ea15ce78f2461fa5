"""Strictness for every test: mixed ranks raise, warnings are errors (pyproject.toml), JAX sees one
CPU device.

Programs compiled by one test, or by a process that it starts, serve all later ones. The folder goes
with the session.
"""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest

from tests.worlds import random_world

jax.config.update("jax_numpy_rank_promotion", "raise")

_LONGEST = (
    "test_hosts.py",
    "test_resume.py",
    "test_walk.py",
    "test_runner.py",
    "test_devices.py",
    "test_focus.py",
)


def pytest_collection_modifyitems(items):
    """The longest files begin first, so that none of them is what everybody waits for at the
    end.
    """
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture
def world(tmp_path):
    """A small random World of 60 users and 40 items."""
    return random_world(tmp_path / "world")
