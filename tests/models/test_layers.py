"""Dropout masks are fair, independent, and the same on any layout of the rows."""

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.models.dropout import Dropout, DropoutRng, hash32
from socialrec_jax.models.items import normalise


def dropped(seed: int, rows, shape=(64, 32, 16), rate=0.3):
    dropout_rng = DropoutRng(jnp.uint32(seed), jnp.asarray(rows))
    return np.asarray(Dropout(rate).apply({}, jnp.ones((len(rows), *shape[1:])), dropout_rng))


def test_dropout_keeps_its_share_and_the_mean():
    out = dropped(1, np.arange(64))
    assert set(np.unique(out).round(5)) == {0.0, np.float32(1 / 0.7).round(5)}
    assert abs((out == 0).mean() - 0.3) < 0.01
    assert abs((out == 0).mean((0, 1)) - 0.3).max() < 0.05, "every unit is dropped alike"


def test_masks_of_neighbouring_rows_steps_and_positions_are_independent():
    a, next_step = dropped(7, np.arange(64)) > 0, dropped(8, np.arange(64)) > 0
    for b in (next_step, np.roll(a, 1, 0), np.roll(a, 1, 1), np.roll(a, 1, 2)):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


def test_a_row_keeps_its_mask_wherever_it_is_computed():
    np.testing.assert_array_equal(dropped(3, np.arange(64))[40:44], dropped(3, np.arange(40, 44)))


def test_without_a_seed_nothing_is_dropped():
    np.testing.assert_array_equal(Dropout(0.5).apply({}, jnp.ones((2, 3)), None), np.ones((2, 3)))


def test_hash32_is_a_bijection_with_avalanche():
    numbers = np.arange(1 << 16, dtype=np.uint32)
    hashes = hash32(numbers)
    assert len(np.unique(hashes)) == 1 << 16
    np.testing.assert_array_equal(hash32(jnp.asarray(numbers)), hashes)
    flipped = np.bitwise_count(hashes ^ hash32(numbers ^ np.uint32(1)))
    assert abs(flipped.mean() - 16) < 0.2


def test_zero_has_a_finite_direction():
    gradient = jax.grad(lambda x: normalise(x).sum())(jnp.zeros((2, 3)))
    assert np.isfinite(gradient).all()
    small = normalise(jnp.full((1, 8), 1e-3))
    np.testing.assert_allclose(np.linalg.norm(small, axis=-1), 1, rtol=1e-5)
