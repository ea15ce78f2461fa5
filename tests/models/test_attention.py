"""Every implementation of attention equals slow loops in double precision, and JAX's own attention
in its gradients, on packed rows with padding and bias tables.

Kernels for accelerators run in interpret mode, and cuDNN's call by XLA. Random rows and lowering
for accelerators: test_attention_kernels.py.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.models.attention import (
    ACCELERATOR_REFERENCE,
    REFERENCE,
    AttentionContext,
    attend,
)
from socialrec_jax.models.kernels import cudnn, fused, splash
from socialrec_jax.models.kernels.reference import causal_mask
from socialrec_jax.models.kernels.relative_bias import (
    RelativeBias,
    bias_array,
    log_buckets,
    look_up_rows,
)

B, T, H, K = 2, 16, 2, 8
SEGMENTS = np.array([[1] * 7 + [2] * 5 + [3] * 4, [1] * 10 + [2] * 3 + [0] * 3], np.int32)

# Functions of (query, key, value, segments, bias).
WITH_BIAS = {
    "reference": REFERENCE.attend,
    "one-hot products": ACCELERATOR_REFERENCE.attend,
    "fused": functools.partial(fused.attend, interpret=True),
}
# Functions of (query, key, value, segments).
WITHOUT_BIAS = {
    "cudnn": functools.partial(cudnn.attend, implementation="xla"),
    "splash": functools.partial(splash.attend, interpret=True),
}
CASES = [(name, True) for name in WITH_BIAS] + [
    (name, False) for name in (*WITH_BIAS, *WITHOUT_BIAS)
]
each_implementation = pytest.mark.parametrize(("implementation", "biased"), CASES)


def attend_by(implementation: str, query, key, value, context: AttentionContext) -> jax.Array:
    """What `attend` computes, by a named implementation."""
    if implementation in WITH_BIAS:
        function = WITH_BIAS[implementation]
        return function(query, key, value, context.segments, context.bias)
    assert context.bias is None
    return WITHOUT_BIAS[implementation](query, key, value, context.segments)


def bias_of(rng: np.random.Generator, time_buckets=32, position_buckets=16) -> RelativeBias:
    """Tables away from zero; times from the same second to years apart."""
    gaps = rng.integers(0, 10, (B, T)) ** rng.integers(0, 9, (B, T))
    times = np.cumsum(gaps, axis=1).astype(np.int32)
    later = times + rng.integers(0, 1000, (B, T)).astype(np.int32)
    return RelativeBias(
        query_times=jnp.asarray(later),
        key_times=jnp.asarray(times),
        time_table=jnp.asarray(rng.normal(size=(time_buckets, H)), jnp.float32),
        position_table=jnp.asarray(rng.normal(size=(position_buckets, H)), jnp.float32),
    )


@pytest.fixture
def inputs():
    """(query, key, value [B, T, H, K], context with a bias)."""
    rng = np.random.default_rng(0)
    parts = [jnp.asarray(rng.normal(size=(B, T, H, K)), jnp.float32) for _ in range(3)]
    return *parts, AttentionContext(jnp.asarray(SEGMENTS), bias_of(rng))


def without_bias(context: AttentionContext) -> AttentionContext:
    return context.replace(bias=None)


def bucket_by_loop(distance: int, num_buckets: int) -> int:
    """0, 1, 2-3, 4-7, ...: how often a distance can be halved."""
    return min(max(distance, 0).bit_length(), num_buckets - 1)


def attend_by_loops(query, key, value, context: AttentionContext) -> np.ndarray:
    """One query, head and key at a time, in double precision."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    segments, bias = jax.tree.map(np.asarray, (context.segments, context.bias))
    out = np.zeros_like(value)
    for b, t, h in np.ndindex(B, T, H):
        keys = [s for s in range(t + 1) if segments[b, s] == segments[b, t]]
        logits = np.array([query[b, t, h] @ key[b, s, h] / np.sqrt(K) for s in keys])
        if bias is not None:
            logits += [bias_by_loop(bias, b, t, s, h) for s in keys]
        weights = np.exp(logits - logits.max())
        out[b, t, h] = weights / weights.sum() @ value[b, keys, h]
    return out


def bias_by_loop(bias: RelativeBias, b: int, t: int, s: int, h: int) -> float:
    seconds = int(bias.query_times[b, t]) - int(bias.key_times[b, s])
    time_bucket = bucket_by_loop(seconds, len(bias.time_table))
    position_bucket = bucket_by_loop(t - s, len(bias.position_table))
    return float(bias.time_table[time_bucket, h]) + float(bias.position_table[position_bucket, h])


@each_implementation
def test_it_equals_loops(inputs, implementation, biased):
    *parts, context = inputs
    context = context if biased else without_bias(context)
    out = attend_by(implementation, *parts, context)
    np.testing.assert_allclose(out, attend_by_loops(*parts, context), rtol=1e-5, atol=1e-6)


@each_implementation
def test_gradients_equal_those_of_jax_own_attention(inputs, implementation, biased):
    """Of queries, keys and values, and of the bias of each pair of events."""
    *parts, context = inputs
    mask = causal_mask(context.segments)[:, None]

    def seam(query, key, value, bias):
        own = context.replace(bias=bias) if biased else without_bias(context)
        return jnp.sum(jnp.sin(attend_by(implementation, query, key, value, own)))

    def dense(query, key, value, bias):
        array = bias_array(bias, look_up_rows) if biased else None
        out = jax.nn.dot_product_attention(query, key, value, bias=array, mask=mask)
        return jnp.sum(jnp.sin(out))

    float_gradients = {"argnums": (0, 1, 2, 3), "allow_int": True}
    found, expected = (
        jax.value_and_grad(function, **float_gradients)(*parts, context.bias)
        for function in (seam, dense)
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if one.dtype == np.float32:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("table", ["time_table", "position_table"])
def test_gradients_of_the_tables_equal_differences_of_loops(inputs, table):
    *parts, context = inputs
    cotangent = np.random.default_rng(1).normal(size=(B, T, H, K))

    def loss(values):
        bias = context.bias.replace(**{table: values})
        return jnp.sum(attend(*parts, context.replace(bias=bias)) * cotangent)

    def loss_by_loops(values):
        bias = context.bias.replace(**{table: values})
        return np.sum(attend_by_loops(*parts, context.replace(bias=bias)) * cotangent)

    values = getattr(context.bias, table)
    gradient, step = jax.grad(loss)(values), 1e-2
    for bucket in range(5):
        shifted = np.zeros(values.shape, np.float32)
        shifted[bucket, 1] = step
        difference = loss_by_loops(values + shifted) - loss_by_loops(values - shifted)
        assert gradient[bucket, 1] == pytest.approx(difference / (2 * step), rel=2e-3, abs=2e-3)


def test_packed_windows_do_not_see_each_other(inputs):
    *parts, context = inputs
    packed = attend(*parts, context)[0, 7:12]

    def window(x):
        return x[:1, 7:12]

    bias = context.bias.replace(
        query_times=window(context.bias.query_times), key_times=window(context.bias.key_times)
    )
    alone = AttentionContext(jnp.ones((1, 5), jnp.int32), bias)
    expected = attend(*(window(part) for part in parts), alone)[0]
    np.testing.assert_allclose(packed, expected, rtol=1e-5, atol=1e-6)


@each_implementation
def test_padding_is_finite_and_changes_nothing(inputs, implementation, biased):
    *parts, context = inputs
    context = context if biased else without_bias(context)
    is_padding = (SEGMENTS == 0)[..., None, None]
    changed = [jnp.where(is_padding, 7.0, part) for part in parts]

    def loss(*parts):
        out = attend_by(implementation, *parts, context)
        return jnp.sum(jnp.sin(out)), jnp.where(is_padding, 0, out)

    differentiate = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    (total, visible), gradients = differentiate(*changed)
    assert all(np.isfinite(leaf).all() for leaf in (total, *gradients))
    (_, expected), _ = differentiate(*parts)
    np.testing.assert_array_equal(visible, expected)


def test_half_precision_rounds_inputs_and_outputs_only(inputs):
    *parts, context = inputs
    half = [part.astype(jnp.bfloat16) for part in parts]
    found = attend(*half, context)
    exact = attend(*(part.astype(jnp.float32) for part in half), context)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.03)
    program = str(jax.make_jaxpr(lambda *x: attend(*x, context))(*half))
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


@pytest.mark.parametrize(
    ("distance", "bucket"),
    [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (127, 7), (2**31 - 1, 9), (-5, 0)],
)
def test_log_buckets(distance, bucket):
    assert int(log_buckets(jnp.array(distance), 10)) == bucket
    assert bucket_by_loop(distance, 10) == bucket
