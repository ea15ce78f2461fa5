"""The k largest of very many scores, exactly."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_BLOCK = 32
_WORTH_IT = (
    32  # blocks for each of the k: with fewer, the second look costs what the first one saves
)


def top_k(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """(scores [Q, k], places [Q, k]) of scores [Q, V], as `jax.lax.top_k` finds them: the earlier
    of equals first.

    Of many scores it first ranks the maxima of blocks: whatever lies outside the k best blocks
    comes after the maximum of each of them, equals included, because blocks are runs of places and
    an earlier block wins a tie. What is left to rank are the maxima and k blocks, not V scores.
    """
    V = scores.shape[1]
    if _WORTH_IT * _BLOCK * k > V:
        best, places = jax.lax.top_k(scores, k)
        return best, places
    blocks = V // _BLOCK
    maxima = scores[:, : blocks * _BLOCK].reshape(-1, blocks, _BLOCK).max(-1)
    chosen = jnp.sort(
        jax.lax.top_k(maxima, k)[1], axis=-1
    )  # in order of place, so that equals stay so
    places = (chosen[:, :, None] * _BLOCK + jnp.arange(_BLOCK)[None, None]).reshape(len(scores), -1)
    rest = jnp.broadcast_to(jnp.arange(blocks * _BLOCK, V)[None], (len(scores), V % _BLOCK))
    places = jnp.concatenate([places, rest], axis=1)
    best, among = jax.lax.top_k(jnp.take_along_axis(scores, places, axis=1), k)
    return best, jnp.take_along_axis(places, among, axis=1)
