"""The fused kernels equal the reference on random packed rows, forward and all gradients; every
implementation lowers for its accelerator without one; and each platform gets the fastest that its
types and shapes allow.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.mesh import AbstractDevice

from socialrec_jax.models import attention
from socialrec_jax.models.attention import (
    ACCELERATOR_REFERENCE,
    CUDNN,
    FUSED,
    REFERENCE,
    SPLASH,
    Choice,
    choose_implementation,
)
from socialrec_jax.models.kernels import fused
from socialrec_jax.models.kernels.fused.blocks import bucket_of
from socialrec_jax.models.kernels.relative_bias import RelativeBias, log_buckets

LAST_SECOND = 2**31 - 1
SCATTER = '"stablehlo.scatter"('
H100 = jax.sharding.AbstractMesh(
    (), (), abstract_device=AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
)


def random_segments(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Windows of random lengths; row 0 is one window, every other row ends with padding."""
    B, T = shape
    segments = np.ones(shape, np.int32)
    for row in range(1, B):
        starts = rng.random(T) < 0.1
        segments[row] = 1 + np.cumsum(starts)
        if row % 2:
            segments[row, T - rng.integers(1, T // 2) :] = 0
    return segments


def random_times(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(query times, key times): gaps from none to years; row 0 spans all seconds that fit."""
    gaps = rng.integers(0, 10, shape).astype(np.int64) ** rng.integers(0, 9, shape)
    key_times = np.minimum(np.cumsum(gaps, axis=1), LAST_SECOND)
    key_times[0, 0], key_times[0, -1] = 0, LAST_SECOND
    query_times = np.minimum(key_times + rng.integers(0, 1000, shape), LAST_SECOND)
    return query_times.astype(np.int32), key_times.astype(np.int32)


def random_inputs(shape: tuple[int, ...], dtype=jnp.float32, buckets=(32, 16)) -> tuple:
    """(query, key, value, segments, bias)."""
    rng = np.random.default_rng(0)
    B, T, H, _ = shape
    parts = [jnp.asarray(rng.normal(size=shape), dtype) for _ in range(3)]
    tables = [jnp.asarray(rng.normal(size=(number, H)), jnp.float32) for number in buckets]
    times = [jnp.asarray(column) for column in random_times(rng, (B, T))]
    return *parts, jnp.asarray(random_segments(rng, (B, T))), RelativeBias(*times, *tables)


def loss_and_gradients(attend, query, key, value, segments, bias, biased=True):
    """The loss, and gradients of queries, keys, values and both tables, in float32."""

    def loss(query, key, value, time_table, position_table):
        tables = {"time_table": time_table, "position_table": position_table}
        own = bias.replace(**tables) if biased else None
        out = attend(query, key, value, segments, own).astype(jnp.float32)
        return jnp.sum(jnp.sin(out))

    arguments = query, key, value, bias.time_table, bias.position_table
    results = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4)))(*arguments)
    return [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(results)]


def assert_all_close(found: list, expected: list, tolerance: float) -> None:
    """The 2-norm of each difference, relative to what is expected."""
    for one, other in zip(found, expected, strict=True):
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


INTERPRETED = functools.partial(fused.attend, interpret=True)


@pytest.mark.parametrize(
    ("shape", "buckets", "biased"),
    [
        ((2, 128, 1, 64), (32, 16), True),
        # Neither rows of whole blocks, nor heads and tables of powers of two.
        ((3, 130, 2, 24), (20, 9), True),
        ((3, 130, 2, 24), (20, 9), False),
    ],
)
def test_the_fused_kernels_equal_the_reference_on_random_rows(shape, buckets, biased):
    inputs = random_inputs(shape, buckets=buckets)
    found = loss_and_gradients(INTERPRETED, *inputs, biased=biased)
    expected = loss_and_gradients(REFERENCE.attend, *inputs, biased=biased)
    assert_all_close(found, expected, 1e-5)


def test_the_fused_kernels_round_half_precision_as_the_reference_does():
    """Either is as far from float32 as the inputs' precision allows."""
    inputs = random_inputs((2, 64, 1, 32), jnp.bfloat16)
    exact = [part.astype(jnp.float32) for part in inputs[:3]]
    expected = loss_and_gradients(REFERENCE.attend, *exact, *inputs[3:])
    assert_all_close(loss_and_gradients(INTERPRETED, *inputs), expected, 1e-2)


def test_one_hot_products_give_the_gradient_of_the_lookup():
    inputs = random_inputs((3, 96, 2, 8))
    found = loss_and_gradients(ACCELERATOR_REFERENCE.attend, *inputs)
    expected = loss_and_gradients(REFERENCE.attend, *inputs)
    assert_all_close(found, expected, 1e-6)


def test_the_tables_gradient_holds_no_scatter_on_accelerators():
    inputs = random_inputs((2, 32, 2, 8))
    step = functools.partial(loss_and_gradients_program, *inputs)
    assert "scatter" in step(REFERENCE.attend)
    assert "scatter" not in step(ACCELERATOR_REFERENCE.attend)


def loss_and_gradients_program(query, key, value, segments, bias, attend) -> str:
    def loss(tables):
        time_table, position_table = tables
        own = bias.replace(time_table=time_table, position_table=position_table)
        return jnp.sum(attend(query, key, value, segments, own))

    return str(jax.make_jaxpr(jax.grad(loss))((bias.time_table, bias.position_table)))


@pytest.mark.parametrize("num_buckets", [16, 32])
def test_the_kernels_buckets_are_log_buckets(num_buckets):
    """At every power of two, beside it, and at random."""
    powers = 2 ** np.arange(31, dtype=np.int64)
    edges = np.concatenate([powers - 1, powers, powers + 1, [LAST_SECOND, -1, -LAST_SECOND]])
    random = np.random.default_rng(0).integers(0, 2**31, 10_000)
    distances = jnp.asarray(np.concatenate([edges, random]), jnp.int32)
    table = jnp.zeros(num_buckets)
    np.testing.assert_array_equal(bucket_of(distances, table), log_buckets(distances, num_buckets))


# JAX from 0.11 on says so of the backend that the fused kernel is written for.
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
@pytest.mark.parametrize(
    ("implementation", "platform", "dtype", "biased", "kernels"),
    [
        (FUSED, "cuda", "bfloat16", True, ("xla.gpu.triton", 3)),
        (FUSED, "cuda", "float32", True, ("xla.gpu.triton", 3)),
        (FUSED, "cuda", "float32", False, ("xla.gpu.triton", 3)),
        (CUDNN, "cuda", "bfloat16", False, ("call @__cudnn$fmha", 2)),
        (SPLASH, "tpu", "bfloat16", False, ("@tpu_custom_call", 3)),
        (SPLASH, "tpu", "float32", False, ("@tpu_custom_call", 3)),
        (ACCELERATOR_REFERENCE, "tpu", "bfloat16", True, (SCATTER, 0)),
        (ACCELERATOR_REFERENCE, "cuda", "float32", True, (SCATTER, 0)),
        (REFERENCE, "cpu", "float32", True, (SCATTER, 2)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_it_lowers_for_accelerators_without_one(
    monkeypatch, implementation, platform, dtype, biased, kernels
):
    # JAX looks for the installed library while it traces.
    monkeypatch.setattr(
        "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000
    )
    query, key, value, segments, bias = random_inputs((2, 128, 2, 64), jnp.dtype(dtype))

    def step(query, key, value, bias):
        context = bias if biased else None
        out = implementation.attend(query, key, value, segments, context)
        return jnp.sum(out.astype(jnp.float32))

    gradients = jax.jit(jax.grad(step, argnums=(0, 1, 2, 3), allow_int=True))
    with jax.sharding.use_abstract_mesh(H100):
        traced = gradients.trace(query, key, value, bias)
        program = traced.lower(lowering_platforms=(platform,)).as_text()
    name, count = kernels
    assert program.count(name) == count


SHAPE = (8, 256, 4, 64)


@pytest.mark.parametrize(
    ("platform", "dtype", "shape", "has_bias", "implementation"),
    [
        ("cpu", "float32", SHAPE, True, REFERENCE),
        ("cpu", "bfloat16", SHAPE, False, REFERENCE),
        ("cuda", "bfloat16", SHAPE, True, FUSED),
        ("cuda", "float32", SHAPE, True, FUSED),
        ("cuda", "bfloat16", SHAPE, False, CUDNN),
        ("tpu", "bfloat16", SHAPE, False, SPLASH),
    ],
)
def test_the_fastest_is_chosen_without_a_reason(platform, dtype, shape, has_bias, implementation):
    assert choose_implementation(platform, dtype, shape, has_bias) == Choice(implementation)


@pytest.mark.parametrize(
    ("platform", "dtype", "shape", "has_bias", "implementation", "reason"),
    [
        ("cuda", "float32", SHAPE, False, FUSED, "float32"),
        ("cuda", "bfloat16", (8, 255, 4, 64), False, FUSED, "even length"),
        ("cuda", "float16", (8, 256, 4, 20), False, FUSED, "multiple of 8"),
        ("cuda", "float32", (8, 256, 4, 128), True, ACCELERATOR_REFERENCE, "512 bytes"),
        ("tpu", "bfloat16", SHAPE, True, ACCELERATOR_REFERENCE, "no bias"),
        ("gpu", "bfloat16", SHAPE, False, ACCELERATOR_REFERENCE, "this GPU"),
    ],
)
def test_another_one_is_chosen_for_a_reason(
    platform, dtype, shape, has_bias, implementation, reason
):
    choice = choose_implementation(platform, dtype, shape, has_bias)
    assert choice.implementation == implementation
    assert reason in choice.reason


def test_a_run_says_which_implementation_it_uses(monkeypatch):
    assert attention.describe("float32", SHAPE, has_bias=True) == "reference, jnp on cpu"
    monkeypatch.setattr(attention, "current_platform", lambda: "cuda")
    assert attention.describe("bfloat16", SHAPE, has_bias=True) == "fused kernel, Triton on cuda"
    line = attention.describe("float32", SHAPE, has_bias=False)
    assert line == "fused kernel, Triton on cuda: cuDNN has no attention in float32"
