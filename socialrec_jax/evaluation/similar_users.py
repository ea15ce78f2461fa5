"""The users whose histories are most similar, found through the users of each item."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.sparse_rows import rows_of_similar_length, top_k_sparse
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events

_SIMILARITIES_AT_ONCE = 1 << 22  # between users: bounds memory

# Users of an item that are compared with a query, at most. Without a bound, the cost of a query
# grows with the users of the shop: everybody has had the most popular items.
_LONGEST_LIST = 5000


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The most similar users of q queries, the best first; -1 with cosine 0 where there are
    fewer.
    """

    users: np.ndarray  # [q, k] int32
    cosines: np.ndarray  # [q, k] float32

    def nearest(self, k: int) -> Neighbours:
        """The first k of them."""
        return Neighbours(self.users[:, :k], self.cosines[:, :k])

    def matrix(self, num_users: int) -> sparse.csr_array:
        """Cosines [q, U], 0 with all other users."""
        exists = self.users >= 0
        offsets = np.concatenate([[0], np.cumsum(exists.sum(axis=1))])
        entries = (self.cosines[exists], self.users[exists], offsets)
        return sparse.csr_array(entries, (len(self.users), num_users))


class NeighbourSearch(Protocol):
    """Finds the users nearest to queries [q]."""

    def nearest(self, query: Query, k: int) -> Neighbours: ...


@dataclasses.dataclass(frozen=True)
class SimilarUsers:
    """The histories of all users, as rows and as inverted lists.

    A query reads the lists of its own items alone, so nothing is users x users. A list has at most
    5,000 users: of an item that more have had, those who had it last, as in session-based
    nearest neighbours (Jannach and Ludewig 2017). With the others, that item counts as not shared.
    """

    histories: sparse.csr_array  # [U, V] rows of length 1
    users_of_items: sparse.csr_array  # [V, U] the same by item, in bounded lists

    @classmethod
    def fit(cls, events: Events, history_ends: np.ndarray, num_items: int) -> SimilarUsers:
        """The rows before history_ends [U]."""
        users = np.arange(len(history_ends))
        histories = unit_rows(events.histories(users, history_ends), num_items)
        lists = sparse.csr_array(histories.T)
        return cls(histories, _bounded(lists, events, history_ends))

    @property
    def num_users(self) -> int:
        return len(self.histories.indptr) - 1

    @property
    def num_items(self) -> int:
        return len(self.users_of_items.indptr) - 1

    def nearest(self, query: Query, k: int) -> Neighbours:
        """The k users, or all, with the largest cosines; nobody is a neighbour of themselves."""
        pairs = query.events.histories(query.users, query.history_ends)
        own = unit_rows(pairs, self.num_items)
        k = min(k, self.num_users)
        users = np.empty((len(query), k), np.int32)
        cosines = np.empty((len(query), k), np.float32)
        for rows in self._rows_of_similar_cost(own):
            similar = self._similar_users(own[rows], query.users[rows])
            users[rows], cosines[rows] = top_k_sparse(similar, k)
        return Neighbours(users, cosines)

    def _rows_of_similar_cost(self, own: sparse.csr_array) -> Iterator[np.ndarray]:
        """All rows of own histories [q, V], some at a time, so that what they share with other
        users fits in memory.
        """
        num_users = np.diff(self.users_of_items.indptr)  # of each item
        running = np.concatenate([[0], np.cumsum(num_users[own.indices])])
        cost = running[own.indptr[1:]] - running[own.indptr[:-1]]
        return rows_of_similar_length(cost, _SIMILARITIES_AT_ONCE)

    def _similar_users(self, own: sparse.csr_array, users: np.ndarray) -> sparse.csr_array:
        """Cosines [q, U] of own histories [q, V] of users [q] with those of all others."""
        similarity = sparse.csr_array(own @ self.users_of_items)
        # Nobody is a neighbour of themselves.
        user_of_value = np.repeat(users, np.diff(similarity.indptr))
        similarity.data[similarity.indices == user_of_value] = 0
        return similarity


class RememberedNeighbours:
    """The same search, which looks for the neighbours of some queries once for all k up to
    `most`.
    """

    def __init__(self, search: NeighbourSearch, most: int):
        self._search, self._most = search, most
        self._known: dict[bytes, Neighbours] = {}

    def nearest(self, query: Query, k: int) -> Neighbours:
        """The k nearest users. ValueError for more than `most`."""
        if k > self._most:
            raise ValueError(f"{k} neighbours, but {self._most} are remembered at most")
        key = query.users.tobytes() + query.history_ends.tobytes()
        if key not in self._known:
            self._known[key] = self._search.nearest(query, self._most)
        return self._known[key].nearest(k)


def _bounded(lists: sparse.csr_array, events: Events, history_ends: np.ndarray) -> sparse.csr_array:
    """The same lists [V, U], each with at most 5,000 users: those who had the item last."""
    lengths = np.diff(lists.indptr)
    is_long = lengths > _LONGEST_LIST
    if not is_long.any():
        return lists
    items = np.repeat(np.arange(len(lengths)), lengths)
    entries = np.flatnonzero(is_long[items])
    items, users = items[entries], lists.indices[entries]
    times = _last_times(events, is_long, history_ends, items, users)
    is_kept = np.ones(lists.nnz, bool)
    is_kept[entries] = _newest_of_each(items, times, _LONGEST_LIST)

    kept_before = np.concatenate([[0], np.cumsum(is_kept)])
    kept = (lists.data[is_kept], lists.indices[is_kept], kept_before[lists.indptr])
    return sparse.csr_array(kept, lists.shape)


def _last_times(
    events: Events,
    is_long: np.ndarray,
    history_ends: np.ndarray,
    items: np.ndarray,
    users: np.ndarray,
) -> np.ndarray:
    """When users [n] had items [n] last before history_ends [U].

    The pairs are sorted, and are all visible ones of the items in is_long [V].
    """
    num_users = len(history_ends)
    rows = np.flatnonzero(is_long[events.items] & events.visible(history_ends))
    keys = events.items[rows].astype(np.int64) * num_users + events.owners[rows]
    pairs = np.searchsorted(items * num_users + users, keys)
    last_rows = np.zeros(len(items), np.int64)
    np.maximum.at(last_rows, pairs, rows)
    return events.times[last_rows]


def _newest_of_each(items: np.ndarray, times: np.ndarray, count: int) -> np.ndarray:
    """Which pairs [n] bool are among the newest `count` of their item; items are sorted."""
    newest_first = np.lexsort([-times, items])
    place = np.arange(len(items)) - np.searchsorted(items, items)
    is_newest = np.zeros(len(items), bool)
    is_newest[newest_first[place < count]] = True
    return is_newest


def unit_rows(histories: Pairs, num_items: int) -> sparse.csr_array:
    """The items that users [q] had, as rows [q, V] of length 1."""
    ones = np.ones(len(histories.items), np.float32)
    shape = (len(histories.offsets) - 1, num_items)
    had = sparse.csr_array((ones, histories.items, histories.offsets), shape)
    had.sum_duplicates()
    had.data[:] = 1  # an item that a user had twice was added up

    items_per_user = np.maximum(np.diff(had.indptr), 1)
    scale = (1 / np.sqrt(items_per_user)).astype(np.float32)
    return sparse.csr_array(sparse.diags_array(scale) @ had)
