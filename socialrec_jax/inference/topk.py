"""The k largest of very many scores, exactly, and their log-sum-exp."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_BLOCK = 32

# Scores are few where even a list of this length needs no blocks.
_SHORT_LIST = 10

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
    listed: jax.Array, counted: jax.Array, k: int, least_blocks: int, shifts: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`top_k` of listed scores [Q, V], and the log-sum-exp [Q] of counted scores [Q, V].

    Both are the same scores with other ones masked. shifts: numbers [Q] from which the best scores
    of a query are at most 60 away, so that float32 can hold the sum of their exponentials. With
    them, one reading of the scores gives this sum and the maxima of the blocks. Without them, the
    largest score has to be found first, which costs less where the scores are few.
    """
    # Not a question of this k: a total must not depend on how many items are listed.
    if shifts is None or not _has_blocks(counted, _SHORT_LIST, least_blocks):
        return *top_k(listed, k, least_blocks), jax.nn.logsumexp(counted, axis=-1)
    sums = _sums_of_blocks(counted, shifts)
    if not _has_blocks(listed, k, least_blocks):
        best, columns = top_k(listed, k, least_blocks)
        return best, columns, _log_total(jax.lax.optimization_barrier(sums), shifts)
    maxima = _blocks(listed).max(axis=-1)
    # Otherwise XLA adds up whole rows at once, in a reading of their own.
    maxima, sums = jax.lax.optimization_barrier((maxima, sums))
    best, columns = _top_of_blocks(listed, maxima, k, least_blocks)
    return best, columns, _log_total(sums, shifts)


def _sums_of_blocks(scores: jax.Array, shifts: jax.Array) -> jax.Array:
    """The sums [Q, n + 1] of the exponentials of scores - shifts: of each block, and of the rest.

    The same for each k, so that a total does not depend on how many items are listed.
    """
    blocks = jnp.exp(_blocks(scores) - shifts[:, None, None]).sum(axis=-1)
    rest = jnp.exp(scores[:, blocks.shape[1] * _BLOCK :] - shifts[:, None]).sum(axis=-1)
    return jnp.concatenate([blocks, rest[:, None]], axis=1)


def _log_total(sums: jax.Array, shifts: jax.Array) -> jax.Array:
    return shifts + jnp.log(sums.sum(axis=-1))


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
