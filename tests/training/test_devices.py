"""Many virtual devices compute what one does, dropout included, and every device holds the same
parameters.

The worker itself checks that the replicas of a run are equal bit for bit. Four devices are those of
two processes, in test_processes.py.
"""

from __future__ import annotations

import numpy as np

from tests.training.conftest import losses, same


def test_eight_devices_equal_one(run_on):
    alone = run_on(1, "--friends")
    same(run_on(8, "--friends"), alone)
    assert losses(alone)[-1] < losses(alone)[0] - 0.2, "the loss falls"


def test_friends_take_part(run_on):
    difference = losses(run_on(1, "--friends")) - losses(run_on(1))
    assert np.abs(difference).max() > 1e-4
