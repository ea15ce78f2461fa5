"""Friends' past events at a query's time, as features of items for the ranker."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.csr import Pairs, ranges

# Of each query: the newest friendships, and the newest events of each friend.
_MAX_FRIENDS = 50
_MAX_EVENTS = 100


@dataclasses.dataclass(frozen=True)
class FriendEvents:
    """Past events of the friends of q users: n events, friend by friend."""

    num_friends: np.ndarray  # [q] all of them, also those without events here
    queries: np.ndarray  # [n] the query that the friend belongs to
    edges: np.ndarray  # [n] the friendship, counted over all queries
    weights: np.ndarray  # [n] of the friendship
    items: np.ndarray  # [n]
    ages: np.ndarray  # [n] later events of the same friend: 0 is the latest

    @classmethod
    def before(
        cls, sampler: FriendSampler, users: np.ndarray, query_times: np.ndarray
    ) -> FriendEvents:
        """Events of the friends of users [q] strictly before query_times [q] (unix seconds).

        At most the newest 50 friendships of a user, and the newest 100 events of a friend.
        """
        first, known = sampler.known_friends(users, query_times)
        counts = np.minimum(known, _MAX_FRIENDS)
        edges = ranges(first + known - counts, counts)
        queries = np.repeat(np.arange(len(users)), counts)
        friends, weights = sampler.friends_at(edges)
        starts, history_ends = sampler.visible_history(friends, query_times[queries])
        lengths = np.minimum(history_ends - starts, _MAX_EVENTS)
        rows = ranges(history_ends - lengths, lengths)
        return cls(
            num_friends=known,
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


def friends_had(histories: Pairs, friend_events: FriendEvents, num_items: int) -> np.ndarray:
    """Features [3, q, V] float32 of each item: the weighted number of friends who had it, the same
    discounted by age, and the same weighted by how similar those friends are to the user.

    Similarity is the cosine between the sets of items that the user (histories) and the friend had.
    A friend who had an item several times counts once, with the age of the last time.
    """
    friend_events = friend_events.last_of_each_item(num_items)
    weights = friend_events.weights
    values = (
        weights,
        weights / (1 + friend_events.ages / 10),
        weights * _similarity(histories, friend_events, num_items),
    )
    shape = (len(histories.offsets) - 1, num_items)
    places = (friend_events.queries, friend_events.items)
    features = [sparse.csr_array((v, places), shape, dtype=np.float32) for v in values]
    return np.stack([feature.toarray() for feature in features])


def _similarity(histories: Pairs, friend_events: FriendEvents, num_items: int) -> np.ndarray:
    """Cosine [n] between the items of each event's friend and those of the user."""
    lengths = np.diff(histories.offsets)
    had = np.zeros((len(lengths), num_items), bool)
    had[np.repeat(np.arange(len(lengths)), lengths), histories.items] = True

    edges, queries = friend_events.edges, friend_events.queries
    num_edges = int(edges.max(initial=-1)) + 1
    shared = np.bincount(edges, had[queries, friend_events.items], num_edges)
    friend_size = np.bincount(edges, minlength=num_edges)
    user_size = had.sum(axis=1)
    of_friend = shared / np.sqrt(np.maximum(friend_size, 1))
    return of_friend[edges] / np.sqrt(np.maximum(user_size, 1))[queries]
