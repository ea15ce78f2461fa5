"""Eight virtual devices compute what one does, dropout included, and every device holds the same parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def losses(run: Path) -> np.ndarray:
    return np.load(run / "losses.npy")


@pytest.mark.parametrize("devices", [2, 8])
def test_n_devices_equal_one(run_on, devices):
    alone = losses(run_on(1))
    np.testing.assert_allclose(losses(run_on(devices)), alone, rtol=1e-5)
    assert alone[-1] < alone[0] - 0.2, "and they learn"


def test_n_devices_equal_one_with_friends(run_on):
    one, many = (losses(run_on(devices, "--friends")) for devices in (1, 8))
    np.testing.assert_allclose(many, one, rtol=1e-5)
    assert np.abs(one - losses(run_on(1))).max() > 1e-4, "friends take part"
