"""Attention over packed rows: the one function that both transformers call.

    out_t = sum_s softmax_s(q_t . k_s / sqrt(K) + bias_ts) v_s,   s <= t in the same segment

Models pass segments, times and tables, never an array of all pairs: an implementation decides
itself what it holds in memory. Each is a file in `kernels/`, and tests/models/test_attention.py
compares it with the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from socialrec_jax.models.kernels import cudnn, reference
from socialrec_jax.models.kernels.relative_bias import (
    RelativeBias,
    look_up_rows,
    look_up_rows_on_accelerators,
)
from socialrec_jax.shapes import Array, Floats, Ints, typed

# The fused kernels keep blocks of whole heads in a processor's own memory.
_MAX_HEAD_BYTES = 256
# NVIDIA's GPUs from Ampere on. Older ones have no bfloat16 and less memory a processor.
_MIN_COMPUTE_CAPABILITY = 8.0


class AttentionContext(struct.PyTreeNode):
    """What attention depends on besides queries, keys and values.

    A query attends to the keys of its own segment that are not later. Padding (segment 0) attends
    to padding, so that its softmax is finite. Windows are contiguous, so the columns of a row count
    events, and the positions of a segment stand side by side.
    """

    segments: Ints[Array, "B T"]
    bias: RelativeBias | None = None


class Implementation(NamedTuple):
    """A way to compute attention: (query, key, value, segments, bias) -> output, as `attend`."""

    name: str
    attend: Callable[[Array, Array, Array, Array, RelativeBias | None], jax.Array]


class Choice(NamedTuple):
    """An implementation, and why it is not a faster one of the platform's; empty if it is."""

    implementation: Implementation
    reason: str = ""


@typed
def attend(
    query: Floats[Array, "B T H K"],
    key: Floats[Array, "B T H K"],
    value: Floats[Array, "B T H K"],
    context: AttentionContext,
) -> Floats[Array, "B T H K"]:
    """Causal attention within segments, in the precision of value.

    Products take the inputs' precision and add up in float32; logits, bias and softmax are float32.
    """
    has_bias = context.bias is not None
    choice = choose_implementation(current_platform(), value.dtype.name, query.shape, has_bias)
    return choice.implementation.attend(query, key, value, context.segments, context.bias)


def describe(dtype: str, shape: tuple[int, ...], has_bias: bool) -> str:
    """The implementation that this process uses for such queries: a line for people."""
    platform = current_platform()
    implementation, reason = choose_implementation(platform, dtype, shape, has_bias)
    line = f"{implementation.name} on {platform}"
    return f"{line}: {reason}" if reason else line


def current_platform() -> str:
    """cpu, tpu, cuda (an NVIDIA GPU that the fused kernels are for) or gpu (another one)."""
    platform = jax.default_backend()
    if platform != "gpu":
        return platform
    # On AMD's GPUs this is a name, such as gfx90a.
    capability = str(getattr(jax.local_devices()[0], "compute_capability", ""))
    is_number = capability.replace(".", "", 1).isdigit()
    return "cuda" if is_number and float(capability) >= _MIN_COMPUTE_CAPABILITY else "gpu"


def choose_implementation(
    platform: str, dtype: str, shape: tuple[int, ...], has_bias: bool
) -> Choice:
    """The fastest implementation for queries [B, T, H, K] of a type, with or without a bias.

    platform: see `current_platform`.
    """
    if platform == "cuda":
        return _choose_on_cuda(dtype, shape, has_bias)
    if platform == "tpu":
        if has_bias:
            return Choice(ACCELERATOR_REFERENCE, "splash attention takes no bias")
        return Choice(SPLASH)
    if platform == "gpu":
        return Choice(ACCELERATOR_REFERENCE, "no fused kernel for this GPU")
    return Choice(REFERENCE)


def _choose_on_cuda(dtype: str, shape: tuple[int, ...], has_bias: bool) -> Choice:
    no_cudnn = (
        "cuDNN would compute the bias as an array" if has_bias else cudnn.why_not(dtype, shape)
    )
    if not no_cudnn:
        return Choice(CUDNN)
    head_bytes = shape[3] * jnp.dtype(dtype).itemsize
    if head_bytes > _MAX_HEAD_BYTES:
        too_wide = f"a head has {head_bytes} bytes, the fused kernel takes {_MAX_HEAD_BYTES}"
        return Choice(ACCELERATOR_REFERENCE, f"{no_cudnn}, and {too_wide}")
    return Choice(FUSED, "" if has_bias else no_cudnn)


def _attend_fused(
    query: Array, key: Array, value: Array, segments: Array, bias: RelativeBias | None
) -> jax.Array:
    # Pallas costs half a second to import, and CPUs do not need it.
    from socialrec_jax.models.kernels import fused

    return fused.attend(query, key, value, segments, bias)


def _attend_splash(
    query: Array, key: Array, value: Array, segments: Array, bias: RelativeBias | None
) -> jax.Array:
    from socialrec_jax.models.kernels import splash

    assert bias is None
    return splash.attend(query, key, value, segments)


def _attend_cudnn(
    query: Array, key: Array, value: Array, segments: Array, bias: RelativeBias | None
) -> jax.Array:
    assert bias is None
    return cudnn.attend(query, key, value, segments)


REFERENCE = Implementation(
    "reference, jnp", functools.partial(reference.attend, look_up=look_up_rows)
)
ACCELERATOR_REFERENCE = Implementation(
    "reference, jnp, tables' gradient by one-hot products",
    functools.partial(reference.attend, look_up=look_up_rows_on_accelerators),
)
CUDNN = Implementation("cuDNN", _attend_cudnn)
FUSED = Implementation("fused kernel, Triton", _attend_fused)
SPLASH = Implementation("splash attention", _attend_splash)
