"""Attention without bias by cuDNN's fused kernel, which holds no logits in memory.

It knows no segments, so they go in as a boolean mask [B, 1, T, T], the same for all heads.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from socialrec_jax.models.kernels.reference import causal_mask
from socialrec_jax.shapes import Array

MAX_HEAD_DIM = 128  # of GPUs before Hopper; a multiple of 8 everywhere


def why_not(dtype: str, shape: tuple[int, ...]) -> str:
    """Why queries [B, T, H, K] of this type cannot use it; empty where they can."""
    T, K = shape[1], shape[3]
    if dtype not in ("bfloat16", "float16"):
        return f"cuDNN has no attention in {dtype}"
    if K % 8 or K > MAX_HEAD_DIM:
        return f"cuDNN needs a head width that is a multiple of 8 up to {MAX_HEAD_DIM}, not {K}"
    if T % 2:
        return f"cuDNN needs rows of even length, not {T}"
    return ""


def attend(
    query: Array,
    key: Array,
    value: Array,
    segments: Array,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """See `attention.attend`. implementation: "xla" computes the same without cuDNN, for tests."""
    query, key, value = (jnp.asarray(part) for part in (query, key, value))
    mask = causal_mask(segments)[:, None]
    # is_causal says again what the mask says: cuDNN then skips the blocks above the diagonal.
    return jax.nn.dot_product_attention(
        query, key, value, mask=mask, is_causal=True, implementation=implementation
    )
