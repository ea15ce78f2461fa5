"""Eight virtual devices compute what one does, dropout included, and every device holds the same parameters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def losses_on(devices: int, folder: Path, *options: str) -> np.ndarray:
    command = [sys.executable, "-m", "tests.training.worker", str(folder), "--steps", "48", "--devices", str(devices)]
    command += options
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / "losses.npy")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return losses_on(1, tmp_path_factory.mktemp("devices") / "1")


@pytest.mark.parametrize("devices", [2, 8])
def test_n_devices_equal_one(alone, devices, tmp_path):
    np.testing.assert_allclose(losses_on(devices, tmp_path), alone, rtol=1e-5)
    assert alone[-1] < alone[0] - 0.2, "and they learn"


def test_n_devices_equal_one_with_friends(alone, tmp_path):
    one, many = (losses_on(devices, tmp_path / str(devices), "--friends") for devices in (1, 8))
    np.testing.assert_allclose(many, one, rtol=1e-5)
    assert np.abs(one - alone).max() > 1e-4, "friends take part"
