"""Attention in plain jnp: holds all logits [B, H, T, T].

Runs everywhere, is the fastest on CPUs, and is what tests compare the other implementations with.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from socialrec_jax.shapes import Array, Bools, Ints, typed


def attend(
    query: Array,
    key: Array,
    value: Array,
    segments: Array,
) -> jax.Array:
    """See `attention.attend`."""
    # Scaling the queries, not the logits, costs T * K instead of T * T products.
    scaled = query * query.shape[-1] ** -0.5
    logits = jnp.einsum("BTHK,BSHK->BHTS", scaled, key, preferred_element_type=jnp.float32)
    weights = _masked_softmax(logits, segments).astype(value.dtype)
    return jnp.einsum("BHTS,BSHK->BTHK", weights, value)


def _masked_softmax(logits: Array, segments: Array) -> jax.Array:
    visible = causal_mask(segments)[:, None]
    # Finite: a row that is masked as a whole would become NaN.
    return jax.nn.softmax(jnp.where(visible, logits, -1e30), axis=-1)


@typed
def causal_mask(segments: Ints[Array, "B T"]) -> Bools[Array, "B T T"]:
    """True where query t (second axis) attends to key s (third axis)."""
    T = segments.shape[1]
    not_later = jnp.tril(jnp.ones((T, T), bool))
    same_segment = segments[:, :, None] == segments[:, None, :]
    return same_segment & not_later[None]
