"""The softmax over a shared catalogue is the full one, in value and gradients, on any number of
devices.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from socialrec_jax.training import losses
from tests import workers
from tests.training.shares import TEMPERATURE, problem


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_a_shared_catalogue_gives_the_full_softmax(devices, tmp_path):
    workers.run("tests.training.shares", tmp_path / "found.npz", devices)
    found = np.load(tmp_path / "found.npz")
    users, items, targets, weights = problem()

    def full(users, items, weights):
        return losses.full_softmax(users, items, targets, weights, TEMPERATURE).total

    value, gradients = jax.value_and_grad(full, argnums=(0, 1, 2))(users, items, weights)
    np.testing.assert_allclose(found["total"], np.full(devices, value), rtol=1e-5)
    np.testing.assert_allclose(found["weight"], np.full(devices, weights.sum()), rtol=1e-6)
    for name, gradient in zip(("users", "items", "weights"), gradients, strict=True):
        np.testing.assert_allclose(found[name], gradient, rtol=2e-5, atol=2e-5, err_msg=name)
