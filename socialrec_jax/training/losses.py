"""Losses as (sum, weight): add over chunks, steps and devices, then divide once.

The softmax over a catalogue or a vocabulary never holds all logits at once. Its gradient is taken
in the forward pass, chunk by chunk, while the chunk's exponentials are in memory: three matrix
products and one elementwise pass, where recomputing the logits in a backward pass costs four
products and twice the passes. Fused linear cross-entropy kernels do the same (Hsu et al. 2024,
"Liger Kernel").
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from socialrec_jax.batch import Sums
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array, Bools, Floats, Ints, typed

Dtype = jnp.dtype | type

_CPU_CHUNK_LOGITS = 1 << 22  # 16 MB: the fastest size on CPUs
# Logits' share of the memory that an accelerator has for data. Exponentials and their copy in the
# products' precision exist beside them, so all of them are a sixth of it at most.
_CHUNK_MEMORY_SHARE = 1 / 16
# Tensor cores read rows of logits in whole pieces: 50,257 columns take twice as long as 50,304.
_ALIGNED_CLASSES = 128


@typed
def full_softmax(
    users: Floats[Array, "N D"],
    items: Floats[Array, "V D"],
    targets: Ints[Array, "N"],
    weights: Floats[Array, "N"],
    temperature: float,
    dtype: Dtype = jnp.float32,
    num_items: Array | None = None,
) -> Sums:
    """Cross-entropy of the next item over the whole catalogue; users and items are unit vectors.

    dtype: what matrix products take; they add up in float32. num_items: rows of items from there on
    count for nothing; by default all count.
    """
    # A cosine is at most 1, so 1 / temperature bounds every logit: no pass to find the maximum.
    settings = _Settings(jnp.dtype(dtype), bound=1 / temperature)
    return _softmax(users / temperature, items, targets, weights, settings, num_items)


@typed
def next_token(
    hidden: Floats[Array, "N D"],
    table: Floats[Array, "V D"],
    targets: Ints[Array, "N"],
    weights: Floats[Array, "N"],
    dtype: Dtype = jnp.float32,
) -> Sums:
    """Cross-entropy of the next token over the vocabulary; logits are hidden . table.

    dtype: what matrix products take; they add up in float32.
    """
    settings = _Settings(jnp.dtype(dtype), bound=None)
    return _softmax(hidden, table, targets, weights, settings)


class _Settings(NamedTuple):
    """How logits are computed."""

    dtype: jnp.dtype  # what matrix products take
    bound: float | None  # no logit exceeds it; None: the maximum is computed


def chunk_logits(platform: str, memory_for_data: int) -> int:
    """How many logits exist at once on a platform (cpu, gpu or tpu); memory in bytes.

    A chunk reads the whole table and adds to its whole gradient. On an accelerator it needs about
    a thousand rows, or this takes longer than the products (docs/results/accelerators.md).
    """
    if platform == "cpu":
        return _CPU_CHUNK_LOGITS
    memory = int(_CHUNK_MEMORY_SHARE * memory_for_data)
    return memory // np.dtype(np.float32).itemsize


def _chunk_rows(num_rows: int, num_classes: int) -> int:
    """Rows of one chunk on this device, at least one."""
    logits = chunk_logits(jax.default_backend(), parallel.memory_for_data())
    most_rows = max(1, logits // num_classes)
    # Even chunks, so that the last one is not padded by many rows.
    num_chunks = math.ceil(num_rows / most_rows)
    return math.ceil(num_rows / num_chunks)


def _softmax(
    rows: Array,
    table: Array,
    targets: Array,
    weights: Array,
    settings: _Settings,
    num_classes: Array | None = None,
) -> Sums:
    """Cross-entropy of logits rows . table, whose rows from num_classes on count for nothing."""
    positive = jnp.sum(rows * table[targets], -1)
    normaliser = jnp.asarray(_weighted_logsumexp(rows, table, weights, num_classes, settings))
    # -log softmax is logsumexp minus the target's logit; both are summed apart.
    return Sums(normaliser - jnp.sum(positive * weights), jnp.sum(weights))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _weighted_logsumexp(
    rows: Array, table: Array, weights: Array, num_classes: Array | None, settings: _Settings
) -> jax.Array:
    """sum_n weights[n] * log sum_v exp(rows[n] . table[v])."""
    value, _ = _logsumexp_and_gradients(rows, table, weights, num_classes, settings)
    return value


def _logsumexp_and_gradients(
    rows: Array, table: Array, weights: Array, num_classes: Array | None, settings: _Settings
):
    """The value, and its gradients by rows [N, D], table [V, D] and weights [N]."""
    N, D = rows.shape
    V = len(table)
    chunk = _chunk_rows(N, V)
    # Cast once, not once a chunk.
    product_table = _aligned(table.astype(settings.dtype))
    if num_classes is None and len(product_table) > V:
        num_classes = jnp.int32(V)

    def add_chunk(table_gradient, rows_and_weights):
        some_rows, some_weights = rows_and_weights
        some = _one_chunk(some_rows, some_weights, product_table, num_classes, settings)
        logsumexp, rows_gradient, added = some
        return table_gradient + added, (logsumexp, rows_gradient)

    chunks = _chunks(rows, chunk), _chunks(weights, chunk)
    no_gradient = jnp.zeros(product_table.shape, table.dtype)
    scanned = jax.lax.scan(add_chunk, no_gradient, chunks)
    table_gradient, (logsumexp, rows_gradient) = scanned
    table_gradient = table_gradient[:V]
    # Without the padding of the last chunk.
    logsumexp = logsumexp.reshape(-1)[:N]
    rows_gradient = rows_gradient.reshape(-1, D)[:N]
    return jnp.sum(logsumexp * weights), (rows_gradient, table_gradient, logsumexp)


def _aligned(table: Array) -> jax.Array:
    """The table [V, D], on an accelerator with rows of zeros up to a whole number of pieces."""
    pieces = 1 if jax.default_backend() == "cpu" else _ALIGNED_CLASSES
    return jnp.pad(table, ((0, -len(table) % pieces), (0, 0)))


def _one_chunk(
    rows: Array, weights: Array, table: Array, num_classes: Array | None, settings: _Settings
):
    """logsumexp [n] of some rows [n, D], and the gradients by these rows and by the table.

    Rows of the table from num_classes on count for nothing.
    """
    dtype, bound = settings
    logits = _product(rows.astype(dtype), table.T)
    if num_classes is not None:
        logits = jnp.where(jnp.arange(len(table))[None] < num_classes, logits, -jnp.inf)
    # Subtracted before exp, so that nothing overflows; any bound on the logits will do.
    shift = jnp.max(logits, -1) if bound is None else jnp.full(len(rows), bound)
    exponentials = jnp.exp(logits - shift[:, None])
    sums = jnp.sum(exponentials, -1)

    # softmax * weight is exponentials * scale, without another array of that size.
    scale = (weights / sums)[:, None]
    exponentials = exponentials.astype(dtype)
    rows_gradient = _product(exponentials, table) * scale
    table_gradient = _product(exponentials.T, (rows * scale).astype(dtype))
    return jnp.log(sums) + shift, rows_gradient, table_gradient


def _product(a: Array, b: Array) -> jax.Array:
    """a @ b, added up in float32."""
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _chunks(x: Array, size: int) -> Array:
    """Rows [N, ...] as [chunks, size, ...], the last chunk padded with zeros."""
    padding = [(0, -len(x) % size)] + [(0, 0)] * (x.ndim - 1)
    padded = jnp.pad(x, padding)
    return padded.reshape(-1, size, *x.shape[1:])


def _backward(_settings: _Settings, gradients: tuple, cotangent: Array) -> tuple:
    # The value is one number, so the gradients that are at hand are only scaled.
    scaled = jax.tree.map(lambda gradient: cotangent * gradient, gradients)
    return (*scaled, None)  # the number of classes has no gradient


_weighted_logsumexp.defvjp(_logsumexp_and_gradients, _backward)


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
    dtype: Dtype = jnp.float32,
) -> Sums:
    """Cross-entropy over the target and M shared negatives, an estimate of `full_softmax`.

    log_expected is the log of how often each negative is expected among the M: subtracting it
    (logQ, Bengio & Senecal 2008; Yi et al. 2019) makes the sum over negatives an unbiased estimate
    of the sum over the catalogue. A negative that is the target is masked.

    dtype: what matrix products take; they add up in float32.
    """
    scaled = users / temperature
    positive = jnp.sum(scaled * positives, -1)
    logits = jnp.asarray(_logits(scaled, negatives, jnp.dtype(dtype)))
    negative = logits - log_expected[None]
    # Each user has the same negatives: one matrix product, and one mask of accidental hits.
    is_target = negative_ids[None] == targets[:, None]
    negative = jnp.where(is_target, -jnp.inf, negative)
    normaliser = jnp.logaddexp(positive, jax.nn.logsumexp(negative, -1))
    return _weighted(normaliser - positive, weights)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _logits(rows: Array, table: Array, dtype: jnp.dtype) -> jax.Array:
    """rows . table [N, M]; this product and those of its gradient take dtype."""
    return _product(rows.astype(dtype), table.astype(dtype).T)


def _logits_and_operands(rows: Array, table: Array, dtype: jnp.dtype):
    return _logits(rows, table, dtype), (rows, table)


def _logits_gradients(dtype: jnp.dtype, operands: tuple[Array, Array], gradient: Array):
    rows, table = operands
    # By itself, JAX multiplies the float32 gradient in float32.
    gradient = gradient.astype(dtype)
    rows_gradient = _product(gradient, table.astype(dtype))
    return rows_gradient, _product(gradient.T, rows.astype(dtype))


_logits.defvjp(_logits_and_operands, _logits_gradients)


@typed
def next_type(
    logits: Floats[Array, "N A"], types: Ints[Array, "N"], weights: Floats[Array, "N"]
) -> Sums:
    """Cross-entropy of the type of the next event."""
    # Few types: all logits fit in memory.
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, types)
    return _weighted(losses, weights)


@typed
def listwise(
    scores: Floats[Array, "Q C"],
    labels: Floats[Array, "Q C"],
    exists: Bools[Array, "Q C"],
    weights: Floats[Array, "Q"],
) -> Sums:
    """Softmax cross-entropy over the candidates; several labels of a query share its weight.

    Queries without a label do not count.
    """
    scores = jnp.where(exists, scores, -1e9)  # finite: a label times it must not be NaN
    num_labels = jnp.maximum(jnp.sum(labels, -1), 1)
    positive = jnp.sum(labels * scores, -1) / num_labels
    has_label = jnp.any(labels > 0, -1)
    return _weighted(jax.nn.logsumexp(scores, -1) - positive, weights * has_label)


@typed
def calibration(
    logits: Floats[Array, "Q C A"],
    labels: Floats[Array, "Q C A"],
    exists: Bools[Array, "Q C"],
    weights: Floats[Array, "Q"],
) -> Sums:
    """Binary cross-entropy of every candidate and event type; minimal where sigmoid(logits) are the
    true probabilities.
    """
    losses = optax.sigmoid_binary_cross_entropy(logits, labels)
    losses = jnp.sum(losses, -1)
    losses = jnp.where(exists, losses, 0)
    return Sums(jnp.sum(losses * weights[:, None]), jnp.sum(weights))


def _weighted(losses: Array, weights: Array) -> Sums:
    return Sums(jnp.sum(losses * weights), jnp.sum(weights))
