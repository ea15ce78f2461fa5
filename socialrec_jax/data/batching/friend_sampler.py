"""Trees of friends and friends of friends around a query, each node with its recent items.

A tree is a function of its user, query time and salt, and never of the other queries. All trees
have one shape. Sampling a fixed number of neighbours is GraphSAGE's (Hamilton et al. 2017).
"""

from __future__ import annotations

import copy
import dataclasses

import numpy as np

from socialrec_jax.batch import FriendTrees
from socialrec_jax.data.counter_rng import uniform
from socialrec_jax.data.csr import first_at_or_after
from socialrec_jax.data.world import Events, Friends

FAN_OUT = (10, 5)  # friends of the user, friends of each friend
RECENT = 8  # items of a node


class FriendSampler:
    """The friend graph and all events, cut at any query time.

    history_ends [U]: where the visible events of each user end, from `World.history_ends`. Friends
    are sorted by the age of the friendship, so those known before a time come first, and running
    sums of weights give the weighted degree at that time in one lookup.
    """

    def __init__(
        self,
        events: Events,
        friends: Friends,
        history_ends: np.ndarray,
        fan_out: tuple[int, int] = FAN_OUT,
        recent: int = RECENT,
        seed: int = 0,
    ):
        self.events = events
        self.history_ends = history_ends
        self.fan_out = fan_out
        self.recent = recent
        self.seed = seed
        self.friends = _oldest_first(friends)
        running = np.cumsum(self.friends.weights, dtype=np.float64)
        self._running_weights = np.concatenate([[0], running])

    def until(self, history_ends: np.ndarray) -> FriendSampler:
        """The same graph with other visible events, history_ends [U]."""
        other = copy.copy(self)
        other.history_ends = history_ends
        return other

    def sample(self, users: np.ndarray, query_times: np.ndarray, salt: int = 0) -> FriendTrees:
        """The trees [...] of users [...] at query_times [...] (unix seconds); only friendships and
        events strictly before that time count.

        User -1 gets an empty tree. Another salt draws other friends where a user has more than fit;
        serving always uses 0.
        """
        a, b = self.fan_out
        roots, times = users.reshape(-1), query_times.reshape(-1)
        near, near_edges = self._draw_friends(roots, times, a, salt)
        far, far_edges = self._draw_friends(near.reshape(-1), np.repeat(times, a), b, salt)

        nodes = np.concatenate([roots[:, None], near, far.reshape(-1, a * b)], axis=1)
        edges = np.concatenate([near_edges, far_edges.reshape(-1, a * b)], axis=1)
        shape = (*users.shape, -1)
        return self._with_recent_items(
            nodes.reshape(shape), query_times[..., None], edges.reshape(shape)
        )

    def known_friends(
        self, users: np.ndarray, query_times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(first edge, number of edges) of each user [...]: friendships before query_times [...].

        The oldest friendship comes first. User -1 has none.
        """
        known_users = np.maximum(users, 0)
        first = self.friends.offsets[known_users]
        stop = np.where(users < 0, first, self.friends.offsets[known_users + 1])
        return first, first_at_or_after(self.friends.times, first, stop, query_times) - first

    def friends_at(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(user, weight) at the other end of edges [...]."""
        if not len(self.friends.ids):
            return np.zeros(edges.shape, np.int32), np.zeros(edges.shape, np.float32)
        return self.friends.ids[edges], self.friends.weights[edges]

    def visible_history(
        self, users: np.ndarray, query_times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(start, exclusive end) of the events of users [...] that are visible and strictly before
        query_times [...].
        """
        before = self.events.ends_before(users, query_times)
        return self.events.offsets[users], np.minimum(before, self.history_ends[users])

    def _draw_friends(
        self, users: np.ndarray, query_times: np.ndarray, k: int, salt: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """k friends of each user [S] at a time: (users [S, k], -1 where absent; edge weights).

        Systematic sampling: one friend from each of k equal stretches of the list, at the same
        random offset in all of them. A drawn friend stands for `scale` friends.
        """
        first, known = self.known_friends(users, query_times)
        scale = np.maximum(known / k, 1.0)[:, None]
        offset = np.where(known > k, uniform(self.seed, salt, users), 0.0)[:, None]
        drawn = ((np.arange(k)[None] + offset) * scale).astype(np.int64)
        exists = drawn < known[:, None]

        friends, weights = self.friends_at(np.where(exists, first[:, None] + drawn, 0))
        friends, weights = np.where(exists, friends, -1), np.where(exists, weights, 0)
        normaliser = self._normaliser(self._degree(first, known), friends, weights, query_times)
        edges = weights / normaliser * scale
        return friends.astype(np.int32), edges.astype(np.float32)

    def _normaliser(
        self, degrees: np.ndarray, friends: np.ndarray, weights: np.ndarray, query_times: np.ndarray
    ) -> np.ndarray:
        """sqrt(d_u d_v) of each edge [S, k]; 1 where there is no edge."""
        friend_degrees = self._degree(*self.known_friends(friends, query_times[:, None]))
        # In a directed graph the friend may have no friends: count the edge itself at least.
        friend_degrees = np.maximum(friend_degrees, weights)
        return np.sqrt(np.where(weights > 0, degrees[:, None] * friend_degrees, 1))

    def _degree(self, first: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Sum of the weights of edges first : first + known."""
        return self._running_weights[first + known] - self._running_weights[first]

    def _with_recent_items(
        self, nodes: np.ndarray, query_times: np.ndarray, edges: np.ndarray
    ) -> FriendTrees:
        """The trees of nodes [..., n], each with its last items before query_times [..., 1]."""
        times = np.broadcast_to(query_times, nodes.shape)
        starts, history_ends = self.visible_history(np.maximum(nodes, 0), times)
        rows = history_ends[..., None] - 1 - np.arange(self.recent)
        exists = (rows >= starts[..., None]) & (nodes >= 0)[..., None]
        rows = np.where(exists, rows, 0)

        ages = np.where(exists, query_times[..., None] - self.events.times[rows], 0)
        ages = np.clip(ages, 0, np.iinfo(np.int32).max)
        return FriendTrees(
            users=nodes.astype(np.int32),
            items=np.where(exists, self.events.items[rows], 0).astype(np.int32),
            ages=ages.astype(np.int32),
            exists=exists,
            edges=edges,
            fan_out=self.fan_out,
        )


def _oldest_first(friends: Friends) -> Friends:
    """Each user's friends by the age of the friendship; negative weights become zero."""
    owners = np.repeat(np.arange(len(friends.offsets) - 1), np.diff(friends.offsets))
    order = np.lexsort((friends.times, owners))
    return dataclasses.replace(
        friends,
        ids=friends.ids[order],
        weights=np.maximum(friends.weights, 0)[order],
        times=friends.times[order],
    )
