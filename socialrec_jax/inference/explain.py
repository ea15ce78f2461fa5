"""Why items are recommended: inputs of the model that can be named, and what each of them counts.

A reason is true by the data alone: the item lies in the history, so many friends had it, these
words are shared, it has this place among the popular items. How much it counts is measured by
leaving the input out (`leave_out.py`), or not said.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.csr import Pairs, offsets_of
from socialrec_jax.data.features.friend_events import FriendEvents
from socialrec_jax.data.features.shared_terms import SharedTerms
from socialrec_jax.data.features.sparse_rows import positions
from socialrec_jax.data.query import Query
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.leave_out import LeaveOut

KINDS = ("history", "friends", "text", "popularity")
FRIENDS, TEXT, POPULARITY = 1, 2, 3

MOST_REASONS = 3  # of a recommendation
_RECENT_EVENTS = 10  # whose items may be named
_MOST_TERMS = 3
# A popular item is among the first so many, and in the first tenth of the catalogue.
_POPULAR_ITEMS = 100
# Smaller contributions are not worth a sentence.
_LEAST_CONTRIBUTION = 1e-3
# Without measurements: the order in which kinds are named.
_FAST_ORDER = (4.0, 3.0, 2.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is true of N recommendations to Q users and may be said."""

    owners: np.ndarray  # [N] the query of each recommendation
    recent: np.ndarray  # [Q, h] different items of the last events, newest first, -1 for none
    friends: Pairs  # users who had the item of each recommendation, friends of its user
    terms: Pairs  # shared terms of each recommendation, see SharedTerms
    places: np.ndarray  # [N] place among the popular items from 1 on, 0 below the first ones

    def exists(self, min_friends: int) -> np.ndarray:
        """Which reasons [N, h + 3] can be named: items of the history, then the other kinds.

        min_friends: fewer friends are not named.
        """
        in_history = self.recent[self.owners] >= 0
        num_friends = np.diff(self.friends.offsets)
        has_friends = num_friends >= max(min_friends, 1)
        has_terms = np.diff(self.terms.offsets) > 0
        others = np.stack([has_friends, has_terms, self.places > 0], axis=1)
        return np.concatenate([in_history, others], axis=1)


@dataclasses.dataclass(frozen=True)
class Reasons:
    """m reasons of N recommendations, three of each at most, the most important first."""

    evidence: Evidence
    owners: np.ndarray  # [m] the recommendation, ascending
    kinds: np.ndarray  # [m] index into KINDS
    items: np.ndarray  # [m] int32 item of the history, -1 for other kinds
    contributions: np.ndarray  # [m] float32, NaN where not measured


@dataclasses.dataclass(frozen=True, eq=False)
class Explainer:
    """Gives the reasons of recommendations."""

    engine: Engine
    exact: bool  # measure contributions, which takes some calls of the model
    min_friends: int
    terms: SharedTerms
    places: np.ndarray  # [V] place of each item by recent popularity, from 1 on

    @classmethod
    def of(cls, engine: Engine, query: Query, exact: bool, min_friends: int) -> Explainer:
        """query: of all users; it says as of when items are popular."""
        places = _places(_popularity(engine, query))
        return cls(engine, exact, min_friends, engine.shared_terms, places)

    def reasons(self, query: Query, pairs: Pairs, leave_out: LeaveOut) -> Reasons:
        """The reasons of pairs: N recommended items, grouped by query.

        leave_out: what measures contributions, where they are.
        """
        evidence = self._evidence(query, pairs)
        exists = evidence.exists(self.min_friends)
        if self.exact:
            values = leave_out.contributions(query, pairs, evidence.recent)
            exists &= values >= _LEAST_CONTRIBUTION
        else:
            values, exists = self._by_kind(pairs, evidence, exists)
        reasons = _chosen(evidence, np.where(exists, values, -np.inf))
        if self.exact:
            return reasons
        return dataclasses.replace(reasons, contributions=np.full_like(reasons.items, np.nan, "f4"))

    def _evidence(self, query: Query, pairs: Pairs) -> Evidence:
        places = self.places[pairs.items]
        first = min(_POPULAR_ITEMS, max(1, len(self.places) // 10))
        return Evidence(
            owners=pairs.owners,
            recent=_recent_items(query),
            friends=_friends_with_item(query, pairs, len(self.places)),
            terms=self.terms.shared(query, pairs, _MOST_TERMS),
            places=np.where(places <= first, places, 0),
        )

    def _by_kind(
        self, pairs: Pairs, evidence: Evidence, exists: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(values [N, h + 3], exists [N, h + 3]): one item of the history, the most similar one."""
        vectors = np.asarray(self.engine.catalogue)
        of_recent = vectors[evidence.recent[evidence.owners]]
        similarity = np.einsum("nd,nhd->nh", vectors[pairs.items], of_recent)
        num_recent = similarity.shape[1]
        similarity = np.where(exists[:, :num_recent], similarity, -np.inf)
        is_most_similar = np.arange(num_recent) == similarity.argmax(axis=1)[:, None]

        by_column = [*np.repeat(_FAST_ORDER[:1], num_recent), *_FAST_ORDER[1:]]
        values = np.broadcast_to(np.array(by_column, np.float32), exists.shape)
        exists = exists.copy()
        exists[:, :num_recent] &= is_most_similar
        return values, exists


def _chosen(evidence: Evidence, values: np.ndarray) -> Reasons:
    """The reasons of the largest finite values [N, h + 3] of each recommendation."""
    # Stable: among equal values the newer event comes first.
    columns = np.argsort(-values, axis=1, kind="stable")[:, :MOST_REASONS]
    of_columns = np.take_along_axis(values, columns, axis=1)
    owners, place = np.nonzero(np.isfinite(of_columns))
    column = columns[owners, place]

    num_recent = evidence.recent.shape[1]
    in_history = column < num_recent
    kinds = np.where(in_history, 0, column - num_recent + 1)
    queries = evidence.owners[owners]
    items = evidence.recent[queries, np.minimum(column, num_recent - 1)]
    return Reasons(
        evidence=evidence,
        owners=owners,
        kinds=kinds,
        items=np.where(in_history, items, -1).astype(np.int32),
        contributions=of_columns[owners, place].astype(np.float32),
    )


def _recent_items(query: Query) -> np.ndarray:
    """The different items [Q, h] of the last events, newest first; -1 where there are fewer."""
    events = query.events
    rows = query.history_ends[:, None] - 1 - np.arange(_RECENT_EVENTS)
    exists = rows >= events.offsets[query.users][:, None]
    # Without any event, not even row 0 can be read.
    if not len(events.items):
        return np.full(rows.shape, -1, np.int32)
    items = np.where(exists, events.items[np.where(exists, rows, 0)], -1)
    is_same = items[:, :, None] == items[:, None, :]
    is_repeated = np.tril(is_same, k=-1).any(axis=2)
    return np.where(is_repeated, -1, items).astype(np.int32)


def _friends_with_item(query: Query, pairs: Pairs, num_items: int) -> Pairs:
    """The friends of each pair's user [N] who had its item before the query time."""
    none = np.zeros(0, np.int64)
    if query.friend_sampler is None:
        return Pairs(offsets_of(none, len(pairs.items)), none.astype(np.int32))
    events = FriendEvents.before(query, query.friend_sampler)
    of_friends = Pairs(offsets_of(events.queries, len(query)), events.items)
    at = positions(of_friends, pairs, num_items)
    recommended = at >= 0

    # A friend who had an item several times counts once.
    num_edges = max(len(events.friends), 1)
    keys = np.unique(at[recommended].astype(np.int64) * num_edges + events.edges[recommended])
    owners, edges = np.divmod(keys, num_edges)
    friends = events.friends[edges].astype(np.int32)
    return Pairs(offsets_of(owners, len(pairs.items)), friends)


def _popularity(engine: Engine, query: Query) -> np.ndarray:
    """The recent popularity [V] that the model reads."""
    if engine.reranker is None:
        return engine.popularity(query.as_of)
    return engine.reranker.generator.features.recent_popularity


def _places(popularity: np.ndarray) -> np.ndarray:
    """1 + the number of items that are more popular [V]."""
    ordered = np.sort(popularity)
    return 1 + len(ordered) - np.searchsorted(ordered, popularity, side="right")
