"""Dropout masks are fair, independent, and the same on any layout of the rows."""

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.models.dropout import Dropout, DropoutRng
from socialrec_jax.models.hashing import hash32
from socialrec_jax.models.items import normalise
from socialrec_jax.models.layers import Gate, JoinedDense, RMSNorm


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


def test_a_gate_reads_the_stream_itself():
    """Its logits come from the normed stream, whose root mean square they get back."""
    rng = np.random.default_rng(0)
    stream, kernel = rng.normal(0, 3, (10, 16)), rng.normal(size=(16, 16))
    scale, bias = rng.normal(1, 0.2, 16), rng.normal(size=16)
    normed = RMSNorm().apply({"params": {"scale": scale}}, jnp.asarray(stream, jnp.float32))
    gate = Gate().apply({"params": {"bias": bias}}, normed @ kernel, jnp.asarray(stream))
    expected = jax.nn.sigmoid(stream @ (scale[:, None] * kernel) + bias[None])
    np.testing.assert_allclose(gate, expected, atol=1e-5)


def test_norms_in_half_precision_add_up_in_float32():
    """512 squares added up in bfloat16 would lose most of them."""
    x = jnp.asarray(np.random.default_rng(0).normal(0, 100, (4, 512)), jnp.bfloat16)
    params = {"params": {"scale": jnp.ones(512)}}
    half, whole = (RMSNorm(dtype).apply(params, x) for dtype in (jnp.bfloat16, jnp.float32))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(half, np.float32), whole, rtol=2e-2)


def test_joined_products_equal_those_of_an_accelerator(monkeypatch):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8)), jnp.float32)
    dense = JoinedDense((24, 8))
    params = dense.init(jax.random.key(0), x)
    one_by_one = dense.apply(params, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    as_one = dense.apply(params, x)
    assert [part.shape for part in as_one] == [(5, 24), (5, 8)]
    for one, other in zip(as_one, one_by_one, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
