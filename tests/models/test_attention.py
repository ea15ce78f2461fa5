"""Every implementation of attention equals slow loops in double precision, and JAX's own attention
in its gradients, on packed rows with padding.

Kernels for accelerators run in interpret mode, and cuDNN's call by XLA. Random rows and lowering
for accelerators: test_attention_kernels.py.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.models.attention import REFERENCE, attend
from socialrec_jax.models.kernels import cudnn, fused, splash
from socialrec_jax.models.kernels.reference import causal_mask

B, T, H, K = 2, 16, 2, 8
SEGMENTS = np.array([[1] * 7 + [2] * 5 + [3] * 4, [1] * 10 + [2] * 3 + [0] * 3], np.int32)

# Functions of (query, key, value, segments).
IMPLEMENTATIONS = {
    "reference": REFERENCE.attend,
    "fused": functools.partial(fused.attend, interpret=True),
    "cudnn": functools.partial(cudnn.attend, implementation="xla"),
    "splash": functools.partial(splash.attend, interpret=True),
}
each_implementation = pytest.mark.parametrize(
    "implementation", IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS.keys()
)


@pytest.fixture
def inputs():
    """Query, key and value [B, T, H, K]."""
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=(B, T, H, K)), jnp.float32) for _ in range(3)]


def attend_by_loops(query, key, value) -> np.ndarray:
    """One query, head and key at a time, in double precision."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    out = np.zeros_like(value)
    for b, t, h in np.ndindex(B, T, H):
        keys = [s for s in range(t + 1) if SEGMENTS[b, s] == SEGMENTS[b, t]]
        logits = np.array([query[b, t, h] @ key[b, s, h] / np.sqrt(K) for s in keys])
        weights = np.exp(logits - logits.max())
        out[b, t, h] = weights / weights.sum() @ value[b, keys, h]
    return out


@each_implementation
def test_it_equals_loops(inputs, implementation):
    out = implementation(*inputs, SEGMENTS)
    np.testing.assert_allclose(out, attend_by_loops(*inputs), rtol=1e-5, atol=1e-6)


@each_implementation
def test_gradients_equal_those_of_jax_own_attention(inputs, implementation):
    mask = causal_mask(SEGMENTS)[:, None]

    def seam(*parts):
        return jnp.sum(jnp.sin(implementation(*parts, SEGMENTS)))

    def dense(*parts):
        return jnp.sum(jnp.sin(jax.nn.dot_product_attention(*parts, mask=mask)))

    found, expected = (
        jax.value_and_grad(function, argnums=(0, 1, 2))(*inputs) for function in (seam, dense)
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_packed_windows_do_not_see_each_other(inputs):
    packed = attend(*inputs, SEGMENTS)[0, 7:12]
    alone = attend(*(part[:1, 7:12] for part in inputs), jnp.ones((1, 5), jnp.int32))[0]
    np.testing.assert_allclose(packed, alone, rtol=1e-5, atol=1e-6)


@each_implementation
def test_padding_is_finite_and_changes_nothing(inputs, implementation):
    is_padding = (SEGMENTS == 0)[..., None, None]
    changed = [jnp.where(is_padding, 7.0, part) for part in inputs]

    def loss(*parts):
        out = implementation(*parts, SEGMENTS)
        return jnp.sum(jnp.sin(out)), jnp.where(is_padding, 0, out)

    differentiate = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    (total, visible), gradients = differentiate(*changed)
    assert all(np.isfinite(leaf).all() for leaf in (total, *gradients))
    (_, expected), _ = differentiate(*inputs)
    np.testing.assert_array_equal(visible, expected)


def test_half_precision_rounds_inputs_and_outputs_only(inputs):
    half = [part.astype(jnp.bfloat16) for part in inputs]
    found = attend(*half, SEGMENTS)
    exact = attend(*(part.astype(jnp.float32) for part in half), SEGMENTS)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.03)
    program = str(jax.make_jaxpr(lambda *x: attend(*x, SEGMENTS))(*half))
    assert "preferred_element_type=float32" in program
    assert f"f32[{B},{H},{T},{T}] = exp" in program


def test_the_mask_of_a_packed_row():
    expected = [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],  # padding sees itself, so that its softmax is finite
    ]
    mask = causal_mask(jnp.array([[1, 1, 2, 2, 0]]))
    np.testing.assert_array_equal(mask[0], np.array(expected, bool))
