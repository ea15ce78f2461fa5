"""Products of turned queries and keys depend on the differences of events and times, exactly."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.models.rotations import Rotations, rotate, rotations

B, T, H, K = 2, 12, 2, 16
HISTORY = 64
SEGMENTS = np.array([[1] * 12, [1] * 5 + [2] * 4 + [0] * 3], np.int32)
_rng = np.random.default_rng(0)
TIMES = np.sort(_rng.integers(0, 10**7, (B, T)), axis=1).astype(np.int32)
LAST_SECOND = 2**31 - 1


def of(times, query_times=None, segments=SEGMENTS) -> Rotations:
    times = np.asarray(times, np.int32)
    query_times = times if query_times is None else np.asarray(query_times, np.int32)
    return rotations(times, query_times, np.asarray(segments, np.int32), K, HISTORY)


def products(turned: Rotations) -> np.ndarray:
    """[B, H, T, T] of random queries and keys.

    In NumPy, as XLA's kernels may add up in another order for another length of rows.
    """
    rng = np.random.default_rng(1)
    query, key = (jnp.asarray(rng.normal(size=(1, 1, H, K)), jnp.float32) for _ in range(2))
    shape = (*turned.key.cos.shape[:2], H, K)
    query = rotate(jnp.broadcast_to(query, shape), turned.query)
    key = rotate(jnp.broadcast_to(key, shape), turned.key)
    return np.einsum("BTHK,BSHK->BHTS", np.asarray(query, float), np.asarray(key, float))


def test_lengths_stay():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(B, T, H, K)), jnp.float32)
    turned = rotate(x, of(TIMES).key)
    np.testing.assert_allclose(
        jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5
    )


def test_a_quarter_of_the_features_does_not_turn():
    x = jnp.ones((B, T, H, K))
    turned = rotate(x, of(TIMES).key)
    np.testing.assert_array_equal(turned[..., 3 * K // 4 :], x[..., 3 * K // 4 :])
    assert np.abs(turned - x)[:, 1:, :, : 3 * K // 4].max() > 0.1


def test_a_window_has_the_same_products_anywhere_in_a_row():
    """And at any time of the world."""
    packed = products(of(TIMES))[1, :, 5:9, 5:9]
    times = TIMES[1:, 5:9] + 10**8
    alone = products(of(times, segments=np.ones((1, 4))))[0]
    np.testing.assert_array_equal(packed, alone)


def test_products_depend_on_gaps_and_on_order():
    evenly = np.broadcast_to(np.arange(T) * 3600, (B, T))
    alike = products(of(evenly, segments=np.ones((B, T))))[0, 0]
    # One step down the diagonal is the same distance.
    np.testing.assert_allclose(alike[1:, 1:], alike[:-1, :-1], atol=1e-4)
    assert np.abs(alike[5, 4] - alike[5, 3]) > 1e-2
    slower = products(of(24 * evenly, segments=np.ones((B, T))))[0, 0]
    assert np.abs(slower[5, 4] - alike[5, 4]) > 1e-2


def test_a_query_turns_by_its_request():
    later = of(TIMES, TIMES + 86_400)
    now = of(TIMES)
    np.testing.assert_array_equal(later.key.cos, now.key.cos)
    assert np.abs(later.query.cos - now.query.cos).max() > 0.1
    np.testing.assert_array_equal(of(TIMES, TIMES - 5).query.cos, now.query.cos)


@pytest.mark.parametrize("times", [[0, LAST_SECOND], [LAST_SECOND, 0]])
def test_any_second_is_finite(times):
    turned = of([times], segments=[[1, 1]])
    for angles in (turned.query, turned.key):
        assert np.isfinite(angles.cos).all()
        assert np.isfinite(angles.sin).all()


def test_half_precision_keeps_its_type():
    x = jnp.ones((B, T, H, K), jnp.bfloat16)
    assert rotate(x, of(TIMES).key).dtype == jnp.bfloat16
