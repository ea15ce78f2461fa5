"""Attention over packed rows: the one function that both transformers call.

    out_t = sum_s softmax_s(q_t . k_s / sqrt(K)) v_s,   s <= t in the same segment

Where and when events lie is in the queries and keys already (`rotations`), so that models pass
segments and never an array of all pairs: an implementation decides itself what it holds in memory.
Each is a file in `kernels/`, and tests/models/test_attention.py compares it with the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from socialrec_jax.models.kernels import cudnn, reference
from socialrec_jax.shapes import Array, Floats, Ints, typed

# The fused kernels keep blocks of whole heads in a processor's own memory.
_MAX_HEAD_BYTES = 256
# NVIDIA's GPUs from Ampere on. Older ones have no bfloat16 and less memory a processor.
_MIN_COMPUTE_CAPABILITY = 8.0


class Implementation(NamedTuple):
    """A way to compute attention: (query, key, value, segments) -> output, as `attend`."""

    name: str
    attend: Callable[[Array, Array, Array, Array], jax.Array]


class Choice(NamedTuple):
    """An implementation, and why it is not a faster one of the platform's; empty if it is."""

    implementation: Implementation
    reason: str = ""


@typed
def attend(
    query: Floats[Array, "B T H K"],
    key: Floats[Array, "B T H K"],
    value: Floats[Array, "B T H K"],
    segments: Ints[Array, "B T"],
) -> Floats[Array, "B T H K"]:
    """Causal attention within segments, in the precision of value.

    A query attends to the keys of its own segment that are not later. Padding (segment 0) attends
    to padding, so that its softmax is finite. Windows are contiguous: the positions of a segment
    stand side by side.

    Products take the inputs' precision and add up in float32; logits and softmax are float32.
    """
    choice = choose_implementation(current_platform(), value.dtype.name, query.shape)
    return choice.implementation.attend(query, key, value, segments)


def describe(dtype: str, shape: tuple[int, ...]) -> str:
    """The implementation that this process uses for such queries: a line for people."""
    platform = current_platform()
    implementation, reason = choose_implementation(platform, dtype, shape)
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


def choose_implementation(platform: str, dtype: str, shape: tuple[int, ...]) -> Choice:
    """The fastest implementation for queries [B, T, H, K] of a type.

    platform: see `current_platform`.
    """
    if platform == "cuda":
        return _choose_on_cuda(dtype, shape)
    if platform == "tpu":
        return Choice(SPLASH)
    if platform == "gpu":
        return Choice(REFERENCE, "no fused kernel for this GPU")
    return Choice(REFERENCE)


def _choose_on_cuda(dtype: str, shape: tuple[int, ...]) -> Choice:
    head_bytes = shape[3] * jnp.dtype(dtype).itemsize
    if head_bytes <= _MAX_HEAD_BYTES:
        return Choice(FUSED)
    too_wide = f"a head has {head_bytes} bytes, the fused kernel takes {_MAX_HEAD_BYTES}"
    no_cudnn = cudnn.why_not(dtype, shape)
    if not no_cudnn:
        return Choice(CUDNN, too_wide)
    return Choice(REFERENCE, f"{too_wide}, and {no_cudnn}")


def _attend_fused(query: Array, key: Array, value: Array, segments: Array) -> jax.Array:
    # Pallas costs half a second to import, and CPUs do not need it.
    from socialrec_jax.models.kernels import fused

    return fused.attend(query, key, value, segments)


def _attend_splash(query: Array, key: Array, value: Array, segments: Array) -> jax.Array:
    from socialrec_jax.models.kernels import splash

    return splash.attend(query, key, value, segments)


REFERENCE = Implementation("reference, jnp", reference.attend)
CUDNN = Implementation("cuDNN", cudnn.attend)
FUSED = Implementation("fused kernel, Triton", _attend_fused)
SPLASH = Implementation("splash attention", _attend_splash)
