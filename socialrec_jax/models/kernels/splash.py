"""Attention without bias on a TPU by JAX's splash attention, which holds no logits in memory.

It takes segments as they are, and whole blocks of 128 positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from socialrec_jax.shapes import Array

BLOCK = 128  # positions


def attend(
    query: Array, key: Array, value: Array, segments: Array, interpret: bool = False
) -> jax.Array:
    """See `attention.attend`. interpret: run the kernel's source on any device, for tests."""
    T, H, K = query.shape[1:]
    padding = -T % BLOCK
    # Splash attention scales nothing itself.
    query = _heads_first(query * K**-0.5, padding)
    key = _heads_first(key, padding)
    value = _heads_first(value, padding)
    # A segment of its own: nothing of the row attends to what is added.
    segments = jnp.pad(segments, ((0, 0), (0, padding)), constant_values=-1)

    kernel = _causal_kernel(H, T + padding, interpret)
    attended = jax.vmap(kernel)(query, key, value, splash.SegmentIds(segments, segments))
    return jnp.moveaxis(cast(jax.Array, attended), 1, 2)[:, :T]


def _causal_kernel(num_heads: int, length: int, interpret: bool) -> Callable:
    """The kernel of one row [H, T, K]."""
    causal = splash.CausalMask((length, length))
    mask = splash.MultiHeadMask([causal] * num_heads)
    return splash.make_splash_mha_single_device(mask, interpret=interpret)


def _heads_first(part: Array, padding: int) -> jax.Array:
    """[B, T, H, K] -> [B, H, T + padding, K]."""
    padded = jnp.pad(part, ((0, 0), (0, padding), (0, 0), (0, 0)))
    return jnp.moveaxis(padded, 1, 2)
