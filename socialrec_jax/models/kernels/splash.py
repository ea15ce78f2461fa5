"""Attention without bias on a TPU by JAX's splash attention, which holds no logits in memory.

It takes segments as they are, and whole blocks of 128 positions.
"""

from __future__ import annotations

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
    # Splash attention wants heads before positions, and scales nothing.
    query, key, value = (_heads_first(part, padding) for part in (query * K**-0.5, key, value))
    # A segment of its own: nothing of the row attends to what is added.
    segments = jnp.pad(segments, ((0, 0), (0, padding)), constant_values=-1)

    causal = splash.CausalMask((T + padding, T + padding))
    mask = splash.MultiHeadMask([causal] * H)
    kernel = splash.make_splash_mha_single_device(mask, interpret=interpret)
    attended = jax.vmap(kernel)(query, key, value, splash.SegmentIds(segments, segments))
    return jnp.moveaxis(cast(jax.Array, attended), 1, 2)[:, :T]


def _heads_first(part: Array, padding: int) -> jax.Array:
    """[B, T, H, K] -> [B, H, T + padding, K]."""
    padded = jnp.pad(part, ((0, 0), (0, padding), (0, 0), (0, 0)))
    return jnp.moveaxis(padded, 1, 2)
