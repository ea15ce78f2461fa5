"""Losses as (sum, weight): add over chunks, steps and devices, then divide once.

The softmax over the catalogue never holds tokens x items at once. Its gradient is taken in the forward pass, chunk by
chunk, while the chunk's exponentials are at hand: three matrix products and one elementwise pass, where recomputing
the logits in a backward pass costs four products and twice the passes. (The same idea as fused linear cross-entropy
kernels: Hsu et al. 2024, "Liger Kernel".)
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from socialrec_jax.batch import Sums
from socialrec_jax.shapes import Array, Bools, Floats, Ints, typed

CHUNK_LOGITS = 1 << 22  # logits that exist at once: 16 MB, the fastest size on CPUs and enough for accelerators


@typed
def full_softmax(
    users: Floats[Array, "N D"],
    items: Floats[Array, "V D"],
    targets: Ints[Array, "N"],
    weights: Floats[Array, "N"],
    temperature: float,
) -> Sums:
    """Cross-entropy of the next item over the whole catalogue; users and items are unit vectors."""
    positive = jnp.sum(users * items[targets], -1) / temperature
    normaliser = jnp.asarray(_weighted_logsumexp(users, items, weights, temperature))
    return Sums(normaliser - jnp.sum(positive * weights), jnp.sum(weights))


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _weighted_logsumexp(users: Array, items: Array, weights: Array, temperature: float) -> jax.Array:
    """sum_n weights[n] * log sum_v exp(users[n] . items[v] / temperature)."""
    return _logsumexp_and_gradient(users, items, weights, temperature)[0]


def _logsumexp_and_gradient(users: Array, items: Array, weights: Array, temperature: float):
    """The value and its gradients with respect to users, items and weights."""
    N, V, D = len(users), len(items), users.shape[1]
    chunk = max(1, min(N, CHUNK_LOGITS // V))

    def chunks(x):
        return jnp.pad(x, [(0, -N % chunk)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, chunk, *x.shape[1:])

    def add(items_gradient, part):
        some_users, some_weights = part
        # Cosines are at most 1, so 1 / temperature bounds every logit: no pass to find the maximum.
        exponentials = jnp.exp((some_users / temperature) @ items.T - 1 / temperature)
        sums = jnp.sum(exponentials, -1)
        scale = (some_weights / (sums * temperature))[:, None]
        users_gradient = (exponentials @ items) * scale
        return items_gradient + exponentials.T @ (some_users * scale), (users_gradient, jnp.log(sums) + 1 / temperature)

    items_gradient, (users_gradient, logsumexp) = jax.lax.scan(
        add, jnp.zeros_like(items), (chunks(users), chunks(weights))
    )
    logsumexp = logsumexp.reshape(-1)[:N]
    return jnp.sum(logsumexp * weights), (users_gradient.reshape(-1, D)[:N], items_gradient, logsumexp)


def _backward(_temperature: float, gradients: tuple, cotangent: Array) -> tuple:
    return jax.tree.map(lambda gradient: cotangent * gradient, gradients)


_weighted_logsumexp.defvjp(_logsumexp_and_gradient, _backward)


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


def negative_chances(item_counts: np.ndarray) -> Array:
    """Chance [V] of each item to be drawn: half by popularity, half uniform.

    Popular items make the hardest negatives, and uniform ones keep every estimate finite.
    """
    share = item_counts / max(item_counts.sum(), 1)
    return jnp.asarray(0.5 * share + 0.5 / len(item_counts), jnp.float32)


@typed
def next_type(logits: Floats[Array, "N A"], types: Ints[Array, "N"], weights: Floats[Array, "N"]) -> Sums:
    """Cross-entropy of how the user acts on the next item, given the item."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, types)
    return Sums(jnp.sum(losses * weights), jnp.sum(weights))


@typed
def listwise(
    scores: Floats[Array, "Q C"], labels: Floats[Array, "Q C"], exists: Bools[Array, "Q C"], weights: Floats[Array, "Q"]
) -> Sums:
    """Cross-entropy of what happened among the candidates, shared between them where it was several.

    A query none of whose candidates came true teaches nothing about their order and has no part in it.
    """
    scores = jnp.where(exists, scores, -1e9)
    losses = jax.nn.logsumexp(scores, -1) - jnp.sum(labels * scores, -1) / jnp.maximum(jnp.sum(labels, -1), 1)
    weights = weights * jnp.any(labels > 0, -1)
    return Sums(jnp.sum(losses * weights), jnp.sum(weights))


@typed
def calibration(
    logits: Floats[Array, "Q C A"],
    labels: Floats[Array, "Q C A"],
    exists: Bools[Array, "Q C"],
    weights: Floats[Array, "Q"],
) -> Sums:
    """Binary cross-entropy of every candidate and action: its minimum is where sigmoids are the true chances."""
    losses = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, labels), -1)
    return Sums(jnp.sum(jnp.where(exists, losses, 0) * weights[:, None]), jnp.sum(weights))
