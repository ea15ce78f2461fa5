"""Runs of `tests.training.worker` that several files look at, each trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import workers
from tests.shared import made_once

LENGTH = (
    "--steps",
    "28",
    "--evaluations",
    "2",
)  # the first is in the middle, and each saves a checkpoint


def losses(run: Path) -> np.ndarray:
    """Of a finished run, a number a call of two steps."""
    return np.load(run / "losses.npy")


def same(one: Path, other: Path) -> None:
    """Two runs had the same losses and ended with the same parameters."""
    np.testing.assert_allclose(losses(one), losses(other), rtol=1e-5)
    params, others = (np.load(run / "params.npz") for run in (one, other))
    assert params.keys() == others.keys()
    for name in params:
        np.testing.assert_allclose(params[name], others[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.fixture(scope="session")
def run_on(tmp_path_factory) -> Callable[..., Path]:
    """The finished run of one process with so many devices; not to be changed."""

    def run(devices: int, *options: str) -> Path:
        def train(folder: Path) -> None:
            workers.run("tests.training.worker", folder, devices, *LENGTH, *options)

        return made_once(tmp_path_factory, "".join([f"run-on-{devices}", *options]), train)

    return run
