"""The k largest of very many scores, exactly."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_BLOCK = 32

# Blocks for each of the k. With fewer of them, the second pass costs what the first one saves.
_LEAST_BLOCKS = 32


def top_k(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """(scores [Q, k], columns [Q, k]) of scores [Q, V], as `jax.lax.top_k` gives them.

    Among equal scores the earlier column comes first.

    Of many scores it first ranks the maxima of blocks. Whatever lies outside the k best blocks
    comes after the maximum of each of them, equal scores included: blocks are runs of columns, and
    an earlier block wins a tie. So only the maxima and the columns of k blocks are ranked, not V
    scores.
    """
    V = scores.shape[1]
    if _LEAST_BLOCKS * _BLOCK * k > V:
        best, columns = jax.lax.top_k(scores, k)
        return best, columns
    columns = _columns_of_best_blocks(scores, k)
    best, among = jax.lax.top_k(jnp.take_along_axis(scores, columns, axis=1), k)
    return best, jnp.take_along_axis(columns, among, axis=1)


def _columns_of_best_blocks(scores: jax.Array, k: int) -> jax.Array:
    """The columns [Q, k * block + rest] of the k best blocks and of the rest after the blocks."""
    Q, V = scores.shape
    num_blocks = V // _BLOCK
    maxima = scores[:, : num_blocks * _BLOCK].reshape(Q, num_blocks, _BLOCK).max(-1)
    _, blocks = jax.lax.top_k(maxima, k)
    # In the order of the columns, so that equal scores stay in it.
    blocks = jnp.sort(blocks, axis=-1)
    in_block = jnp.arange(_BLOCK)[None, None]
    columns = (blocks[:, :, None] * _BLOCK + in_block).reshape(Q, -1)
    rest = jnp.broadcast_to(jnp.arange(num_blocks * _BLOCK, V)[None], (Q, V % _BLOCK))
    return jnp.concatenate([columns, rest], axis=1)
