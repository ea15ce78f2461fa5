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
    CUDNN,
    FUSED,
    REFERENCE,
    SPLASH,
    Choice,
    choose_implementation,
)
from socialrec_jax.models.kernels import fused

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


def random_inputs(shape: tuple[int, ...], dtype=jnp.float32) -> tuple:
    """(query, key, value, segments)."""
    rng = np.random.default_rng(0)
    parts = [jnp.asarray(rng.normal(size=shape), dtype) for _ in range(3)]
    return *parts, jnp.asarray(random_segments(rng, shape[:2]))


def loss_and_gradients(attend, query, key, value, segments):
    """The loss, and gradients of queries, keys and values, in float32."""

    def loss(*parts):
        return jnp.sum(jnp.sin(attend(*parts, segments).astype(jnp.float32)))

    results = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(query, key, value)
    return [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(results)]


def assert_all_close(found: list, expected: list, tolerance: float) -> None:
    """The 2-norm of each difference, relative to what is expected."""
    for one, other in zip(found, expected, strict=True):
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


INTERPRETED = functools.partial(fused.attend, interpret=True)


# Rows of whole blocks; neither these, nor heads of a power of two.
@pytest.mark.parametrize("shape", [(2, 128, 1, 64), (3, 130, 2, 24)])
def test_the_fused_kernels_equal_the_reference_on_random_rows(shape):
    inputs = random_inputs(shape)
    found = loss_and_gradients(INTERPRETED, *inputs)
    assert_all_close(found, loss_and_gradients(REFERENCE.attend, *inputs), 1e-5)


def test_the_fused_kernels_round_half_precision_as_the_reference_does():
    """Either is as far from float32 as the inputs' precision allows."""
    inputs = random_inputs((2, 64, 1, 32), jnp.bfloat16)
    exact = [part.astype(jnp.float32) for part in inputs[:3]]
    expected = loss_and_gradients(REFERENCE.attend, *exact, *inputs[3:])
    assert_all_close(loss_and_gradients(INTERPRETED, *inputs), expected, 1e-2)


# JAX from 0.11 on says so of the backend that the fused kernel is written for.
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
@pytest.mark.parametrize(
    ("implementation", "platform", "dtype", "kernels"),
    [
        (FUSED, "cuda", "bfloat16", ("xla.gpu.triton", 3)),
        (FUSED, "cuda", "float32", ("xla.gpu.triton", 3)),
        (CUDNN, "cuda", "bfloat16", ("call @__cudnn$fmha", 2)),
        (SPLASH, "tpu", "bfloat16", ("@tpu_custom_call", 3)),
        (SPLASH, "tpu", "float32", ("@tpu_custom_call", 3)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_it_lowers_for_accelerators_without_one(
    monkeypatch, implementation, platform, dtype, kernels
):
    # JAX looks for the installed library while it traces.
    monkeypatch.setattr(
        "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000
    )
    *parts, segments = random_inputs((2, 128, 2, 64), jnp.dtype(dtype))

    def step(*parts):
        return jnp.sum(implementation.attend(*parts, segments).astype(jnp.float32))

    gradients = jax.jit(jax.grad(step, argnums=(0, 1, 2)))
    with jax.sharding.use_abstract_mesh(H100):
        program = gradients.trace(*parts).lower(lowering_platforms=(platform,)).as_text()
    name, count = kernels
    assert program.count(name) == count


SHAPE = (8, 256, 4, 64)


@pytest.mark.parametrize(
    ("platform", "dtype", "implementation"),
    [
        ("cpu", "float32", REFERENCE),
        ("cpu", "bfloat16", REFERENCE),
        ("cuda", "bfloat16", FUSED),
        ("cuda", "float32", FUSED),
        ("tpu", "bfloat16", SPLASH),
    ],
)
def test_the_fastest_is_chosen_without_a_reason(platform, dtype, implementation):
    assert choose_implementation(platform, dtype, SHAPE) == Choice(implementation)


@pytest.mark.parametrize(
    ("platform", "dtype", "shape", "implementation", "reason"),
    [
        ("cuda", "bfloat16", (8, 256, 4, 256), REFERENCE, "head width"),
        ("cuda", "float32", (8, 256, 4, 128), REFERENCE, "512 bytes"),
        ("gpu", "bfloat16", SHAPE, REFERENCE, "this GPU"),
    ],
)
def test_another_one_is_chosen_for_a_reason(platform, dtype, shape, implementation, reason):
    choice = choose_implementation(platform, dtype, shape)
    assert choice.implementation == implementation
    assert reason in choice.reason


def test_a_run_says_which_implementation_it_uses(monkeypatch):
    assert attention.describe("float32", SHAPE) == "reference, jnp on cpu"
    monkeypatch.setattr(attention, "current_platform", lambda: "cuda")
    assert attention.describe("bfloat16", SHAPE) == "fused kernel, Triton on cuda"
    line = attention.describe("float32", (8, 256, 4, 128))
    assert line.startswith("reference, jnp on cuda: a head has 512 bytes")
