"""Runs of `tests.training.worker` that several files look at, each trained once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import workers

STEPS = 50


@pytest.fixture(scope="session")
def run_on(tmp_path_factory) -> Callable[..., Path]:
    """The finished run of one process with so many devices; not to be changed."""

    @functools.cache
    def run(devices: int, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("devices") / "run"
        workers.run("tests.training.worker", folder, devices, "--steps", str(STEPS), *options, timeout=240)
        return folder

    return run
