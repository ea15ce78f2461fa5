"""Many virtual devices compute what one does, dropout included, and every device holds the same
parameters.

The worker itself checks that the replicas of a run are equal bit for bit.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.conftest import losses, same


# Four devices are those of two processes, in test_processes.py.
@pytest.mark.parametrize("devices", [2, 8])
def test_n_devices_equal_one(run_on, devices):
    same(run_on(devices), run_on(1))
    alone = losses(run_on(1))
    assert alone[-1] < alone[0] - 0.2, "the loss falls"


def test_n_devices_equal_one_with_friends(run_on):
    one, many = (run_on(devices, "--friends") for devices in (1, 8))
    same(many, one)
    assert np.abs(losses(one) - losses(run_on(1))).max() > 1e-4, "friends take part"
