"""Losses as (sum, weight): add over chunks, steps and devices, then divide once.

The softmax over a catalogue or a vocabulary never holds all logits at once. Its gradient is taken
in the forward pass, chunk by chunk, while the chunk's exponentials are at hand: three matrix
products and one elementwise pass, where recomputing the logits in a backward pass costs four
products and twice the passes. (The same idea as fused linear cross-entropy kernels: Hsu et al.
2024, "Liger Kernel".) A catalogue may be shared by the devices: each adds its part of the sum of
exponentials.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from socialrec_jax.batch import Sums
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array, Bools, Floats, Ints, typed

CHUNK_LOGITS = (
    1 << 22
)  # logits that exist at once: 16 MB, the fastest size on CPUs and enough for accelerators


@typed
def full_softmax(
    users: Floats[Array, "N D"],
    items: Floats[Array, "V D"],
    targets: Ints[Array, "N"],
    weights: Floats[Array, "N"],
    temperature: float,
) -> Sums:
    """Cross-entropy of the next item over the whole catalogue; users and items are unit vectors."""
    scaled = users / temperature
    # Cosines are at most 1, so 1 / temperature bounds every logit: no pass to find the maximum.
    return _softmax(scaled, items, targets, weights, 1 / temperature)


@typed
def next_token(
    hidden: Floats[Array, "N D"],
    table: Floats[Array, "V D"],
    targets: Ints[Array, "N"],
    weights: Floats[Array, "N"],
) -> Sums:
    """Cross-entropy of the next token over the vocabulary; logits are hidden . table."""
    return _softmax(hidden, table, targets, weights, None)


def _softmax(
    rows: Array, table: Array, targets: Array, weights: Array, bound: float | None
) -> Sums:
    """Cross-entropy of logits rows . table, of which none exceeds bound; None looks for the
    greatest.
    """
    positive = jnp.sum(rows * table[targets], -1)
    normaliser = jnp.asarray(_weighted_logsumexp(rows, table, weights, bound, 1))
    return Sums(normaliser - jnp.sum(positive * weights), jnp.sum(weights))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _weighted_logsumexp(
    rows: Array, table: Array, weights: Array, bound: float | None, devices: int
) -> jax.Array:
    """One of `devices` equal parts of sum_n weights[n] * log sum_v exp(rows[n] . table[v]), v over
    all their tables.

    rows and weights are the same on all of several devices. The gradient is that of the sum over
    devices by what is here: the gradients by rows differ, and are added where the gather is undone.
    """
    return _logsumexp_and_gradient(rows, table, weights, bound, devices)[0]


def _logsumexp_and_gradient(
    rows: Array, table: Array, weights: Array, bound: float | None, devices: int
):
    """The value and its gradients by rows [N, D], table [V, D] and weights [N]; several devices
    need a bound.
    """
    join: Callable = parallel.sum_over_devices if devices > 1 else lambda sums: sums
    N, V, D = len(rows), len(table), rows.shape[1]
    chunk = max(1, min(N, CHUNK_LOGITS // V))

    def add(table_gradient, part):
        some_rows, some_weights = part
        logits = some_rows @ table.T
        shift = jnp.max(logits, -1) if bound is None else jnp.full(chunk, bound)
        exponentials = jnp.exp(logits - shift[:, None])
        sums = join(jnp.sum(exponentials, -1))
        scale = (some_weights / sums)[:, None]
        rows_gradient = (exponentials @ table) * scale
        return table_gradient + exponentials.T @ (some_rows * scale), (
            rows_gradient,
            jnp.log(sums) + shift,
        )

    table_gradient, (rows_gradient, logsumexp) = jax.lax.scan(
        add, jnp.zeros_like(table), (_chunks(rows, chunk), _chunks(weights, chunk))
    )
    logsumexp = logsumexp.reshape(-1)[:N]
    gradients = rows_gradient.reshape(-1, D)[:N], table_gradient, logsumexp / devices
    return jnp.sum(logsumexp * weights) / devices, gradients


def _chunks(x: Array, size: int) -> Array:
    """Rows [N, ...] as [chunks, size, ...], the last chunk filled with zeros."""
    return jnp.pad(x, [(0, -len(x) % size)] + [(0, 0)] * (x.ndim - 1)).reshape(
        -1, size, *x.shape[1:]
    )


def _backward(_bound: float | None, _devices: int, gradients: tuple, cotangent: Array) -> tuple:
    return jax.tree.map(lambda gradient: cotangent * gradient, gradients)


_weighted_logsumexp.defvjp(_logsumexp_and_gradient, _backward)


@typed
def sharded_softmax(
    users: Floats[Array, "N D"],
    items: Floats[Array, "S D"],
    targets: Ints[Array, "N"],
    weights: Floats[Array, "N"],
    temperature: float,
) -> Sums:
    """full_softmax inside a mapped function, over a catalogue of which device d holds items d * S
    to (d + 1) * S.

    users, targets (numbers in the whole catalogue) and weights are this device's own; the sum over
    devices of what is returned is the loss. Gradients are those of that sum and stay where users
    and items live: they are not to be added over devices. What travels: the users once to
    everybody, a number a user and chunk, and their gradients back.
    """
    everybody, wanted, everybodys = parallel.gather_over_devices(
        (users / temperature, targets, weights)
    )
    place = wanted - parallel.device_number() * len(items)
    owned = jnp.where((place >= 0) & (place < len(items)), everybodys, 0)
    positive = jnp.sum(everybody * items[jnp.clip(place, 0, len(items) - 1)], -1)
    devices = len(everybody) // len(users)
    normaliser = jnp.asarray(
        _weighted_logsumexp(everybody, items, everybodys, 1 / temperature, devices)
    )
    return Sums(normaliser - jnp.sum(positive * owned), jnp.sum(weights))


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

    log_expected is the log of how often each negative is expected among the M: subtracting it
    (logQ, Bengio & Senecal 2008; Yi et al. 2019) makes the sum over negatives an unbiased estimate
    of the sum over the catalogue. A negative that happens to be the target is masked.
    """
    scaled = users / temperature
    positive = jnp.sum(scaled * positives, -1)
    negative = scaled @ negatives.T - log_expected[None]
    negative = jnp.where(negative_ids[None] == targets[:, None], -jnp.inf, negative)
    normaliser = jnp.logaddexp(positive, jax.nn.logsumexp(negative, -1))
    return Sums(jnp.sum((normaliser - positive) * weights), jnp.sum(weights))


@typed
def next_type(
    logits: Floats[Array, "N A"], types: Ints[Array, "N"], weights: Floats[Array, "N"]
) -> Sums:
    """Cross-entropy of how the user acts on the next item, given the item."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, types)
    return Sums(jnp.sum(losses * weights), jnp.sum(weights))


@typed
def listwise(
    scores: Floats[Array, "Q C"],
    labels: Floats[Array, "Q C"],
    exists: Bools[Array, "Q C"],
    weights: Floats[Array, "Q"],
) -> Sums:
    """Cross-entropy of what happened among the candidates, shared between them where it was
    several.

    A query none of whose candidates came true teaches nothing about their order and has no part in
    it.
    """
    scores = jnp.where(exists, scores, -1e9)
    losses = jax.nn.logsumexp(scores, -1) - jnp.sum(labels * scores, -1) / jnp.maximum(
        jnp.sum(labels, -1), 1
    )
    weights = weights * jnp.any(labels > 0, -1)
    return Sums(jnp.sum(losses * weights), jnp.sum(weights))


@typed
def calibration(
    logits: Floats[Array, "Q C A"],
    labels: Floats[Array, "Q C A"],
    exists: Bools[Array, "Q C"],
    weights: Floats[Array, "Q"],
) -> Sums:
    """Binary cross-entropy of every candidate and action: its minimum is where sigmoids are the
    true chances.
    """
    losses = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, labels), -1)
    return Sums(jnp.sum(jnp.where(exists, losses, 0) * weights[:, None]), jnp.sum(weights))
