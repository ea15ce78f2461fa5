"""Ready-made lists for places of a shop: each ranks items by one question instead of the model's.

Scores and probabilities are the model's for the same items, so that lists can be compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs, ranges
from socialrec_jax.data.features.friend_events import FriendEvents, friends_had
from socialrec_jax.data.features.sparse_rows import entries_of, positions, top_k_sparse
from socialrec_jax.data.query import Query
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.inference.candidates import SOURCES
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.pair_scores import score_pairs
from socialrec_jax.inference.recommendations import Recommendations
from socialrec_jax.serving.buy_again import Rhythms
from socialrec_jax.serving.co_occurrence import co_occurrence
from socialrec_jax.serving.list_options import Placement
from socialrec_jax.serving.rules.item_ages import item_ages

# What the column `source` says, beside the sources of the model's candidates.
SOURCE_NAMES = (*SOURCES, "buy again", "new")
_SOURCES = {
    "basket": "bought together",
    "buy-again": "buy again",
    "trending": "trending",
    "new": "new",
    "friends": "friends",
}

_USERS_AT_ONCE = 512
_DAY = 86400
_NEW_DAYS = 30
_MAX_BASKET = 20  # events of the last day


@dataclasses.dataclass(frozen=True, eq=False)
class PlacedLists:
    """Makes the lists of a placement.

    basket: what occurs together with the items of the user's last day. buy-again: what the user had
    and is due, see `Rhythms`. trending: the recently most popular. new: what had its first event
    within 30 days, or none yet, in the model's order. friends: what friends had, newest first.
    """

    engine: Engine
    placement: Placement
    allowed: np.ndarray | None  # [V] bool: only these items
    repeats: bool  # items of the history, too
    is_for_all: bool = True  # for all users, so that no item at all is a mistake

    def parts(self, query: Query, k: int) -> Iterator[Recommendations]:
        """The k best items of each user of a query, in chunks."""
        source = SOURCE_NAMES.index(_SOURCES[self.placement])
        for part in self._parts(query, k):
            yield dataclasses.replace(part, sources=np.full(part.items.shape, source))

    def _parts(self, query: Query, k: int) -> Iterator[Recommendations]:
        if self.placement == "new":
            allowed = self._new_items(query)
            yield from self.engine.recommend(query, k=k, repeats=self.repeats, allowed=allowed)
            return
        items_of = self._proposing(query)
        for begin in range(0, len(query), _USERS_AT_ONCE):
            part = query.part(slice(begin, begin + _USERS_AT_ONCE))
            yield _with_scores(self.engine, part, items_of(part, k))

    def _new_items(self, query: Query) -> np.ndarray:
        """Which items [V] bool are new."""
        world = self.engine.world
        is_old = item_ages(world, query.as_of) > _NEW_DAYS
        allowed = ~world.deleted_items if self.allowed is None else self.allowed
        if self.is_for_all and not (allowed & ~is_old).any():
            raise BadData(
                f"--placement new: no item that may be recommended is new, which is to have its "
                f"first event within {_NEW_DAYS} days"
            )
        return allowed & ~is_old

    def _proposing(self, query: Query) -> Callable[[Query, int], np.ndarray]:
        """A function of a part of the query and k to items [q, k], the best first, -1 for none."""
        if self.placement == "trending":
            return self._trending
        scores_of = self._scoring(query)
        return lambda part, k: top_k_sparse(self._remaining(part, scores_of(part)), k)[0]

    def _scoring(self, query: Query) -> Callable[[Query], sparse.csr_array]:
        """A function of a part of the query to scores [q, V], above 0 for what is proposed."""
        engine, world = self.engine, self.engine.world
        if self.placement == "friends":
            return self._friends_scores
        if self.placement == "buy-again":
            rhythms = Rhythms.of(world, query.as_of)
            now = int(world.query_times(query.as_of).max(initial=0))
            return lambda part: rhythms.due(part, now)
        similarity = co_occurrence(engine, query.as_of)
        return lambda part: sparse.csr_array(_baskets(part, world.num_items) @ similarity)

    def _trending(self, part: Query, k: int) -> np.ndarray:
        """The recently most popular items, as for users without history."""
        engine = self.engine
        starts = part.events.offsets[part.users]
        seen = part.events.histories(part.users, starts if self.repeats else part.history_ends)
        # The index scores a state of zeros by popularity.
        states = np.zeros((len(part), engine.config.model.width), np.float32)
        inputs = engine.index_inputs(part.as_of)
        tops = list(engine.index.top(inputs, states, seen, k, self.allowed))
        items = np.concatenate([top.items for top in tops])
        scores = np.concatenate([top.scores for top in tops])
        return np.where(np.isfinite(scores), items, -1)

    def _friends_scores(self, part: Query) -> sparse.csr_array:
        sampler = part.friend_sampler
        if sampler is None:
            raise UsageError("--placement friends: no friends of these users are known")
        num_items = self.engine.world.num_items
        histories = part.events.histories(part.users, part.history_ends)
        scores = friends_had(histories, FriendEvents.before(part, sampler), num_items)
        return scores.matrix(scores.recency, num_items)

    def _remaining(self, part: Query, scores: sparse.csr_array) -> sparse.csr_array:
        """The scores of items that may be recommended to each user."""
        remains = np.ones(scores.nnz, bool)
        if self.allowed is not None:
            remains = self.allowed[scores.indices]
        # What is bought again is part of the history.
        if not self.repeats and self.placement != "buy-again":
            histories = part.events.histories(part.users, part.history_ends)
            at = positions(entries_of(scores), histories, self.engine.world.num_items)
            remains = remains & (at < 0)
        values = np.where(remains, scores.data, 0).astype(np.float32)
        return sparse.csr_array((values, scores.indices, scores.indptr), scores.shape)


def _baskets(part: Query, num_items: int) -> sparse.csr_array:
    """One [q, V] at the items of each user's last day, of the 20 newest events at most."""
    events = part.events
    starts, ends = events.offsets[part.users], part.history_ends
    # A user without events reads some other event, and has no rows after it.
    last_rows = np.maximum(ends - 1, 0)
    times = events.times[last_rows] - _DAY if len(events.times) else np.zeros(len(part), np.int64)
    first = np.maximum(events.ends_before(part.users, times + 1), ends - _MAX_BASKET)
    lengths = ends - np.clip(first, starts, ends)
    rows = ranges(ends - lengths, lengths)
    owners = np.repeat(np.arange(len(part)), lengths)
    counts = sparse.csr_array(
        (np.ones(len(rows), np.float32), (owners, events.items[rows])), (len(part), num_items)
    )
    # An item that came several times counts once.
    counts.data[:] = 1
    return counts


def _with_scores(engine: Engine, query: Query, items: np.ndarray) -> Recommendations:
    """The model's scores for items [q, k], -1 where there is none."""
    exists = items >= 0
    offsets = np.concatenate([[0], np.cumsum(exists.sum(axis=1))])
    scores, probabilities = score_pairs(engine, query, Pairs(offsets, items[exists]))

    # What does not exist is item 0 without a score.
    items = np.maximum(items, 0)
    return Recommendations(
        users=query.users,
        items=items,
        scores=_filled(exists, scores, -np.inf),
        type_probabilities=_filled(exists, probabilities, 0),
        sources=np.zeros(items.shape, np.int64),
    )


def _filled(exists: np.ndarray, values: np.ndarray, otherwise: float) -> np.ndarray:
    """values [n, ...] at the n places of exists [q, k], another value elsewhere."""
    filled = np.full((*exists.shape, *values.shape[1:]), otherwise, np.float32)
    filled[exists] = values
    return filled
