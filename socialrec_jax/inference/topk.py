"""The k largest of very many scores, exactly, and their log-sum-exp."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_BLOCK = 32

# Blocks for each of the k. With fewer of them, the second pass costs what the first one saves.
_LEAST_BLOCKS = 32


def top_k(
    scores: jax.Array, k: int, least_blocks: int = _LEAST_BLOCKS
) -> tuple[jax.Array, jax.Array]:
    """(scores [Q, k], columns [Q, k]) of scores [Q, V], as `jax.lax.top_k` gives them.

    Among equal scores the earlier column comes first. least_blocks: fewer blocks for each of the k
    are not used.

    Of many scores it first ranks the maxima of blocks. Whatever lies outside the k best blocks
    comes after the maximum of each of them, equal scores included: blocks are runs of columns, and
    an earlier block wins a tie. So only the maxima and the columns of k blocks are ranked, not V
    scores. Very many maxima are ranked in the same way.
    """
    if not _has_blocks(scores, k, least_blocks):
        best, columns = jax.lax.top_k(scores, k)
        return best, columns
    maxima = _blocks(scores).max(axis=-1)
    return _top_of_blocks(scores, maxima, k, least_blocks)


def top_k_and_log_total(
    scores: jax.Array, k: int, least_blocks: int, one_pass: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`top_k`, and the log-sum-exp [Q] of all scores [Q, V].

    one_pass: the maxima of the blocks and their sums come from one reading of the scores.
    """
    if not one_pass or not _has_blocks(scores, k, least_blocks):
        return *top_k(scores, k, least_blocks), jax.nn.logsumexp(scores, axis=-1)
    maxima, sums = _maxima_and_sums(_blocks(scores))
    best, columns = _top_of_blocks(scores, maxima, k, least_blocks)
    log_sums = maxima + jnp.log(sums)
    rest = scores[:, maxima.shape[1] * _BLOCK :]
    log_total = jax.nn.logsumexp(jnp.concatenate([log_sums, rest], axis=1), axis=-1)
    return best, columns, log_total


def _has_blocks(scores: jax.Array, k: int, least_blocks: int) -> bool:
    return least_blocks * _BLOCK * k <= scores.shape[1]


def _blocks(scores: jax.Array) -> jax.Array:
    """The whole blocks [Q, n, block] of scores [Q, V]."""
    Q, V = scores.shape
    num_blocks = V // _BLOCK
    return scores[:, : num_blocks * _BLOCK].reshape(Q, num_blocks, _BLOCK)


def _top_of_blocks(
    scores: jax.Array, maxima: jax.Array, k: int, least_blocks: int
) -> tuple[jax.Array, jax.Array]:
    """`top_k` of scores [Q, V], given the maximum of each whole block [Q, n]."""
    columns = _columns_of_best_blocks(maxima, k, scores.shape[1], least_blocks)
    best, among = jax.lax.top_k(jnp.take_along_axis(scores, columns, axis=1), k)
    return best, jnp.take_along_axis(columns, among, axis=1)


def _columns_of_best_blocks(
    maxima: jax.Array, k: int, num_columns: int, least_blocks: int
) -> jax.Array:
    """The columns [Q, k * block + rest] of the k best blocks and of the rest after the blocks."""
    Q, num_blocks = maxima.shape
    _, blocks = top_k(maxima, k, least_blocks)
    # In the order of the columns, so that equal scores stay in it.
    blocks = jnp.sort(blocks, axis=-1)
    in_block = jnp.arange(_BLOCK)[None, None]
    columns = (blocks[:, :, None] * _BLOCK + in_block).reshape(Q, -1)
    rest = jnp.arange(num_blocks * _BLOCK, num_columns)[None]
    rest = jnp.broadcast_to(rest, (Q, num_columns % _BLOCK))
    return jnp.concatenate([columns, rest], axis=1)


def _maxima_and_sums(blocks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(m, sum of exp(score - m)) [Q, n] of blocks [Q, n, block], where m is the block's maximum.

    This is the running sum of an online softmax (Milakov and Gimelshein 2018).
    """
    start = (jnp.float32(-jnp.inf), jnp.float32(0))
    maxima, sums = jax.lax.reduce((blocks, jnp.ones_like(blocks)), start, _add_scaled, (2,))
    return maxima, sums


def _add_scaled(one: tuple, other: tuple) -> tuple[jax.Array, jax.Array]:
    """The sum of two sums of exponentials, each given as (m, sum / exp(m))."""
    (first, first_sum), (second, second_sum) = one, other
    greatest, least = jnp.maximum(first, second), jnp.minimum(first, second)
    # Equal maxima need no factor. Two infinite ones have no difference.
    factor = jnp.where(greatest == least, 1.0, jnp.exp(least - greatest))
    first_is_greatest = first >= second
    first_sum = jnp.where(first_is_greatest, first_sum, first_sum * factor)
    second_sum = jnp.where(first_is_greatest, second_sum * factor, second_sum)
    return greatest, first_sum + second_sum
