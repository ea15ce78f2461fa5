"""Friends' past events at a query's time, as features of items for the ranker."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.csr import Pairs, offsets_of, ranges
from socialrec_jax.data.features.sparse_rows import positions
from socialrec_jax.data.query import Query

# Of each query: the newest friendships, and the newest events of each friend.
_MAX_FRIENDS = 50
_MAX_EVENTS = 100


@dataclasses.dataclass(frozen=True)
class FriendEvents:
    """Past events of the friends of q users: n events, friend by friend."""

    num_friends: np.ndarray  # [q] all of them, also those without events here
    friends: np.ndarray  # [m] the user at the other end of each friendship
    queries: np.ndarray  # [n] the query that the friend belongs to
    edges: np.ndarray  # [n] the friendship, 0..m-1
    weights: np.ndarray  # [n] of the friendship
    items: np.ndarray  # [n]
    ages: np.ndarray  # [n] later events of the same friend: 0 is the latest

    @classmethod
    def before(cls, query: Query, sampler: FriendSampler) -> FriendEvents:
        """Events of the friends of users [q] strictly before the query times [q].

        At most the newest 50 friendships of a user, and the newest 100 events of a friend.
        """
        first, known = sampler.known_friends(query.users, query.query_times)
        counts = np.minimum(known, _MAX_FRIENDS)
        edges = ranges(first + known - counts, counts)
        queries = np.repeat(np.arange(len(query)), counts)
        friends, weights = sampler.friends_at(edges)
        starts, history_ends = sampler.visible_history(friends, query.query_times[queries])
        lengths = np.minimum(history_ends - starts, _MAX_EVENTS)
        rows = ranges(history_ends - lengths, lengths)
        return cls(
            num_friends=known,
            friends=friends,
            queries=np.repeat(queries, lengths),
            edges=np.repeat(np.arange(len(edges)), lengths),
            weights=np.repeat(weights, lengths),
            items=sampler.events.items[rows],
            ages=np.repeat(history_ends, lengths) - 1 - rows,
        )

    def last_of_each_item(self, num_items: int) -> FriendEvents:
        """Without events whose item the same friend took again later."""
        keys = self.edges * num_items + self.items
        _, from_the_end = np.unique(keys[::-1], return_index=True)
        last = np.sort(len(keys) - 1 - from_the_end)
        return dataclasses.replace(
            self,
            queries=self.queries[last],
            edges=self.edges[last],
            weights=self.weights[last],
            items=self.items[last],
            ages=self.ages[last],
        )


@dataclasses.dataclass(frozen=True)
class FriendScores:
    """What the friends of q queries had, as three sparse matrices [q, V] of the same entries."""

    entries: Pairs  # the items of each query, ascending
    number: np.ndarray  # [n] float32: weighted number of friends who had the item
    recency: np.ndarray  # [n] float32: the same discounted by age
    similarity: np.ndarray  # [n] float32: the same weighted by how similar the friends are

    def matrix(self, values: np.ndarray, num_items: int) -> sparse.csr_array:
        """Values [n] of the entries as a sparse matrix [q, V]."""
        offsets, items = self.entries.offsets, self.entries.items
        return sparse.csr_array((values, items, offsets), (len(offsets) - 1, num_items))


def friends_had(histories: Pairs, friend_events: FriendEvents, num_items: int) -> FriendScores:
    """Scores of the items that friends of queries [q] had.

    Similarity is the cosine between the sets of items that the user (histories) and the friend had.
    A friend who had an item several times counts once, with the age of the last time.
    """
    friend_events = friend_events.last_of_each_item(num_items)
    keys = friend_events.queries * num_items + friend_events.items
    entries, entry_of_event = np.unique(keys, return_inverse=True)
    offsets = offsets_of(entries // num_items, len(friend_events.num_friends))
    items = (entries % num_items).astype(np.int32)

    weights = friend_events.weights
    similarity = _similarity(histories, friend_events, num_items)
    values = (weights, weights / (1 + friend_events.ages / 10), weights * similarity)
    # Added one after another, friend by friend, whoever else is in the chunk.
    sums = [np.bincount(entry_of_event, value, len(entries)) for value in values]
    number, recency, of_similar = (total.astype(np.float32) for total in sums)
    return FriendScores(Pairs(offsets, items), number, recency, of_similar)


def _similarity(histories: Pairs, friend_events: FriendEvents, num_items: int) -> np.ndarray:
    """Cosine [n] between the items of each event's friend and those of the user."""
    num_queries = len(histories.offsets) - 1
    offsets = offsets_of(friend_events.queries, num_queries)
    in_history = positions(Pairs(offsets, friend_events.items), histories, num_items) >= 0

    edges = friend_events.edges
    num_edges = int(edges.max(initial=-1)) + 1
    shared = np.bincount(edges, in_history, num_edges)
    friend_size = np.bincount(edges, minlength=num_edges)
    user_size = histories.count_distinct(num_items)
    of_friend = shared / np.sqrt(np.maximum(friend_size, 1))
    return of_friend[edges] / np.sqrt(np.maximum(user_size, 1))[friend_events.queries]
