"""Attention is the textbook's with a mask and a bias, and its sums are float32 whatever the inputs
are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.models.attention import attend, causal_mask


@pytest.fixture
def inputs():
    """(query, key, value [B, T, H, K], segments [B, T], bias [B, H, T, T]) of packed rows with
    padding.
    """
    rng = np.random.default_rng(0)
    parts = [jnp.asarray(rng.normal(size=(2, 16, 2, 64)), jnp.float32) for _ in range(3)]
    segments = jnp.asarray([[1] * 7 + [2] * 5 + [3] * 4, [1] * 10 + [2] * 3 + [0] * 3], jnp.int32)
    return *parts, segments, jnp.asarray(rng.normal(size=(2, 2, 16, 16)), jnp.float32)


@pytest.mark.parametrize("biased", [True, False])
def test_it_is_jax_own_attention_with_its_gradients(inputs, biased):
    query, key, value, segments, bias = inputs
    mask = causal_mask(segments)

    def ours(query, key, value, bias):
        return jnp.sum(jnp.sin(attend(query, key, value, mask, bias if biased else None)))

    def theirs(query, key, value, bias):
        kwargs = {"bias": bias} if biased else {}
        return jnp.sum(
            jnp.sin(jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], **kwargs))
        )

    found = [
        jax.value_and_grad(way, argnums=(0, 1, 2, 3))(query, key, value, bias)
        for way in (ours, theirs)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *found)


def test_packed_windows_do_not_see_each_other(inputs):
    query, key, value, segments, bias = inputs
    packed = attend(query, key, value, causal_mask(segments), bias)[0, 7:12]
    part, own = (slice(0, 1), slice(7, 12)), jnp.ones((1, 5), jnp.int32)
    alone = attend(query[part], key[part], value[part], causal_mask(own), bias[:1, :, 7:12, 7:12])[
        0
    ]
    np.testing.assert_allclose(packed, alone, rtol=1e-5, atol=1e-6)


def test_half_precision_rounds_inputs_and_outputs_only(inputs):
    *parts, segments, bias = inputs
    half = [part.astype(jnp.bfloat16) for part in parts]
    found = attend(*half, causal_mask(segments), bias)
    exact = attend(*(part.astype(jnp.float32) for part in half), causal_mask(segments), bias)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.03)
    program = str(jax.make_jaxpr(lambda *x: attend(*x, causal_mask(segments), bias))(*half))
    assert "preferred_element_type=float32" in program
    assert "f32[2,2,16,16] = exp" in program
