"""The users who are most likely to act on a campaign: a set of items that is offered to users.

The reverse of a recommendation. Users go through in chunks, and the devices keep the best users of
each campaign, so that memory does not grow with users times items.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.data.csr import Pairs
from socialrec_jax.inference.chunks import bucket
from socialrec_jax.inference.pair_scores import Retrieval
from socialrec_jax.inference.scores import with_fallback

_SCORES_AT_ONCE = 1 << 24
_LEAST_USERS, _MOST_USERS = 8, 4096  # of a chunk


class BestUsers(NamedTuple):
    """The best users of C campaigns, best first."""

    rows: np.ndarray  # [C, k] of the query, -1 where fewer than k users are left
    log_probabilities: np.ndarray  # [C, k] that the next event is on an item of the campaign


def best_users(retrieval: Retrieval, campaigns: Pairs, k: int, repeats: bool = False) -> BestUsers:
    """The k users of a query [Q] whose next event is most likely on an item of each campaign.

    campaigns: the items of each of C campaigns, each item once. Probabilities are the retriever's,
    summed over the items. repeats: items of a user's history count too. Among equal users the
    earlier one of the query comes first.
    """
    num_users = len(retrieval.states)
    members = _Members.of(campaigns, len(retrieval.catalogue))
    shared = members.on_devices(retrieval)
    size = _chunk_size(members, num_users)
    best = _no_users(len(campaigns.offsets) - 1, min(k, num_users))
    for begin in range(0, num_users, size):
        chunk = _chunk(retrieval, members, begin, size)
        best = _merge(retrieval.temperature, repeats, shared, chunk, best)
    log_probabilities, rows = (np.asarray(leaf) for leaf in best)
    return BestUsers(np.where(np.isfinite(log_probabilities), rows, -1), log_probabilities)


@dataclasses.dataclass(frozen=True)
class _Members:
    """Which items the campaigns have: E entries over n different items."""

    items: np.ndarray  # [n]
    column_of_item: np.ndarray  # [V] its place in items, -1 where no campaign has it
    columns: np.ndarray  # [E] the item of each entry as its place in items
    campaigns: np.ndarray  # [E] the campaign of each entry, ascending

    @classmethod
    def of(cls, campaigns: Pairs, num_items: int) -> _Members:
        items, columns = np.unique(campaigns.items, return_inverse=True)
        column_of_item = np.full(num_items, -1, np.int32)
        column_of_item[items] = np.arange(len(items))
        return cls(items, column_of_item, columns, campaigns.owners)

    def on_devices(self, retrieval: Retrieval) -> tuple:
        """(vectors [n, D], popularity [n], columns [E], campaigns [E])."""
        vectors = retrieval.catalogue[self.items]
        popularity = retrieval.popularity[self.items]
        columns = self.columns.astype(np.int32)
        return jax.device_put((vectors, popularity, columns, self.campaigns.astype(np.int32)))


def _chunk_size(members: _Members, num_users: int) -> int:
    """Users of a chunk: a power of two, whose scores and sums fit into the budget."""
    width = len(members.items) + 2 * len(members.columns)
    fitting = max(_SCORES_AT_ONCE // max(width, 1), 1)
    power_of_two = 1 << (fitting.bit_length() - 1)
    size = min(max(power_of_two, _LEAST_USERS), _MOST_USERS)
    return min(size, bucket(num_users, 1))


class _Chunk(NamedTuple):
    """q users of the query; padding has log_totals of infinity, so that nothing is likely."""

    first_row: int  # of the query
    states: np.ndarray  # [q, D]
    log_totals: np.ndarray  # [q]
    seen_rows: np.ndarray  # [m] users of the chunk; padding is q, which is dropped
    seen_columns: np.ndarray  # [m] items that the user had


def _chunk(retrieval: Retrieval, members: _Members, begin: int, size: int) -> _Chunk:
    end = min(begin + size, len(retrieval.states))
    missing = size - (end - begin)
    states = np.pad(retrieval.states[begin:end], ((0, missing), (0, 0)))
    log_totals = np.pad(retrieval.log_totals[begin:end], (0, missing), constant_values=np.inf)

    rows, columns = _seen_members(retrieval.seen.part(begin, end), members)
    # Powers of two: few shapes, so that few programs compile.
    padding = (0, bucket(max(len(rows), 1), 1) - len(rows))
    seen_rows = np.pad(rows, padding, constant_values=size).astype(np.int32)
    return _Chunk(begin, states, log_totals, seen_rows, np.pad(columns, padding))


def _seen_members(seen: Pairs, members: _Members) -> tuple[np.ndarray, np.ndarray]:
    """(user [m], column [m]) of the seen items that the campaigns have."""
    columns = members.column_of_item[seen.items]
    is_member = columns >= 0
    return seen.owners[is_member], columns[is_member]


def _no_users(num_campaigns: int, k: int) -> tuple[jax.Array, jax.Array]:
    shape = (num_campaigns, k)
    return jax.device_put((np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int32)))


# The former best users are donated: nobody reads them again, so their memory is reused.
@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=4)
def _merge(
    temperature: float, repeats: bool, shared: tuple, chunk: _Chunk, best: tuple
) -> tuple[jax.Array, jax.Array]:
    """The best users (log probabilities [C, k], rows [C, k]) with those of one more chunk."""
    of_items = _log_probabilities_of_items(temperature, repeats, shared, chunk)
    of_campaigns = _log_sums(of_items, shared, len(best[0]))
    rows = chunk.first_row + jnp.arange(len(chunk.states), dtype=jnp.int32)
    rows = jnp.broadcast_to(rows, of_campaigns.shape)

    # Earlier users come first, and top_k takes the first of equals.
    log_probabilities = jnp.concatenate([best[0], of_campaigns], axis=1)
    rows = jnp.concatenate([best[1], rows], axis=1)
    log_probabilities, places = jax.lax.top_k(log_probabilities, best[0].shape[1])
    return log_probabilities, jnp.take_along_axis(rows, places, axis=1)


def _log_probabilities_of_items(
    temperature: float, repeats: bool, shared: tuple, chunk: _Chunk
) -> jax.Array:
    """Log probabilities [q, n] that the next event of a user is on an item of the campaigns."""
    vectors, popularity, *_ = shared
    score = with_fallback(temperature)
    scores = score.products((vectors, popularity), chunk.states)
    if score.addend is not None:
        scores = scores + score.addend((vectors, popularity), chunk.states)
    new = scores - chunk.log_totals[:, None]

    is_seen = jnp.zeros(scores.shape, bool)
    is_seen = is_seen.at[chunk.seen_rows, chunk.seen_columns].set(True, mode="drop")
    # An item of the history is no part of the total of new items, so its score is added there.
    seen = -jax.nn.softplus(-new) if repeats else -jnp.inf
    return jnp.where(is_seen, seen, new)


def _log_sums(of_items: jax.Array, shared: tuple, num_campaigns: int) -> jax.Array:
    """Log-sum-exp [C, q] of the items [q, n] of each campaign."""
    *_, columns, campaigns = shared
    # Segment operations reduce over the first axis.
    entries = of_items.T[columns]
    maxima = jax.ops.segment_max(entries, campaigns, num_campaigns, indices_are_sorted=True)
    # A user may have had all items of a campaign, and -inf - (-inf) is not a number.
    finite_maxima = jnp.where(jnp.isfinite(maxima), maxima, 0)
    shares = jnp.exp(entries - finite_maxima[campaigns])
    sums = jax.ops.segment_sum(shares, campaigns, num_campaigns, indices_are_sorted=True)
    return finite_maxima + jnp.log(sums)
