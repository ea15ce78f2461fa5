"""Losses as (sum, weight): add over chunks, steps and devices, then divide once.

The softmax over the catalogue never holds tokens x items at once: tokens go through in chunks, and the backward pass
recomputes each chunk's logits instead of keeping them.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import optax

from socialrec_jax.batch import Sums
from socialrec_jax.shapes import Array, Floats, Ints, typed

CHUNK_LOGITS = 1 << 23  # logits that exist at once: 32 MB, larger than caches and small beside any memory


@typed
def full_softmax(
    users: Floats[Array, "N D"],
    items: Floats[Array, "V D"],
    targets: Ints[Array, "N"],
    weights: Floats[Array, "N"],
    temperature: float,
) -> Sums:
    """Cross-entropy of the next item over the whole catalogue; users and items are unit vectors."""
    N, V = len(users), len(items)
    chunk = max(1, min(N, CHUNK_LOGITS // V))
    pad = -N % chunk

    def chunks(x):
        return jnp.pad(x, [(0, pad)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, chunk, *x.shape[1:])

    @partial(jax.checkpoint, prevent_cse=False)
    def add(total, part):
        some_users, some_targets, some_weights = part
        logits = (some_users / temperature) @ items.T
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, some_targets)
        return total + jnp.sum(losses * some_weights), None

    total, _ = jax.lax.scan(add, jnp.zeros(()), (chunks(users), chunks(targets), chunks(weights)))
    return Sums(total, jnp.sum(weights))


@typed
def sampled_softmax(
    users: Floats[Array, "N D"],
    positives: Floats[Array, "N D"],
    negatives: Floats[Array, "M D"],
    targets: Ints[Array, "N"],
    negative_ids: Ints[Array, "M"],
    log_expected: Floats[Array, "M"],
    weights: Floats[Array, "N"],
    temperature: float,
) -> Sums:
    """Cross-entropy over the target and M shared negatives, an estimate of `full_softmax`.

    log_expected is the log of how often each negative is expected among the M: subtracting it (logQ, Bengio & Senecal
    2008; Yi et al. 2019) makes the sum over negatives an unbiased estimate of the sum over the catalogue. A negative
    that happens to be the target is masked.
    """
    scaled = users / temperature
    positive = jnp.sum(scaled * positives, -1)
    negative = scaled @ negatives.T - log_expected[None]
    negative = jnp.where(negative_ids[None] == targets[:, None], -jnp.inf, negative)
    normaliser = jnp.logaddexp(positive, jax.nn.logsumexp(negative, -1))
    return Sums(jnp.sum((normaliser - positive) * weights), jnp.sum(weights))


@typed
def next_type(logits: Floats[Array, "N A"], types: Ints[Array, "N"], weights: Floats[Array, "N"]) -> Sums:
    """Cross-entropy of how the user acts on the next item, given the item."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, types)
    return Sums(jnp.sum(losses * weights), jnp.sum(weights))
