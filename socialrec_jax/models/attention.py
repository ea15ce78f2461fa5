"""Attention over packed rows: the one function that both transformers call.

    out_t = sum_s softmax_s(q_t . k_s * scale + bias_ts) v_s,   s <= t in the same segment

Products take the inputs' precision and add up in float32; logits, bias and softmax are float32
whatever comes in.

XLA compiles this on every device. Fused kernels for the same sum would stand here
(docs/architecture.md says which, and why none does yet): both callers would have them at once.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from socialrec_jax.shapes import Array, Bools, Floats, Ints, typed


@typed
def causal_mask(segments: Ints[Array, "B T"]) -> Bools[Array, "B T T"]:
    """True where query t may look at key s: the same window, not later. Padding sees padding
    only.
    """
    T = segments.shape[1]
    earlier = jnp.tril(jnp.ones((T, T), bool))
    return (segments[:, :, None] == segments[:, None, :]) & earlier[None]


@typed
def attend(
    query: Floats[Array, "B T H K"],
    key: Floats[Array, "B T H K"],
    value: Floats[Array, "B T H K"],
    mask: Bools[Array, "B T T"],
    bias: Floats[Array, "#B H T T"] | None = None,
) -> Floats[Array, "B T H K"]:
    """What each query takes from the keys that its mask lets it see, [B, T, H, K] in the precision
    of value.

    bias is added to the logits. A query must see a key at least; `causal_mask` lets it see itself.
    """
    scaled = query * query.shape[-1] ** -0.5
    logits = jnp.einsum("BTHK,BSHK->BHTS", scaled, key, preferred_element_type=jnp.float32)
    if bias is not None:
        logits = logits + bias
    weights = jax.nn.softmax(jnp.where(mask[:, None], logits, -1e30), axis=-1).astype(value.dtype)
    return jnp.einsum("BHTS,BSHK->BTHK", weights, value)
