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
from socialrec_jax.data.joined_columns import joined, joined_events
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
        self.friends = oldest_first(friends)
        # float64, since differences of large sums are read from it.
        running = np.cumsum(self.friends.weights, dtype=np.float64)
        self._running_weights = np.concatenate([[0], running])
        self._users_of_variants = np.zeros(0, np.int64)

    def until(self, history_ends: np.ndarray) -> FriendSampler:
        """The same graph with other visible events, history_ends [U]."""
        # The sorted friends and running sums are shared.
        other = copy.copy(self)
        other.history_ends = history_ends
        return other

    def with_variants(self, histories: Events, users: np.ndarray) -> FriendSampler:
        """The same graph, where users have other histories under other numbers.

        Variant i of users [n] has the number U + i and history i; its friends, and what is drawn of
        them, are those of users[i].
        """
        ends = self.num_events + histories.offsets[1:]
        other = self.until(joined(self.history_ends, ends))
        other.events = joined_events(self.events, histories)
        other._users_of_variants = users
        return other

    @property
    def num_events(self) -> int:
        return len(self.events.items)

    def sample(self, users: np.ndarray, query_times: np.ndarray, salt: int = 0) -> FriendTrees:
        """The trees [...] of users [...] at query_times [...] (unix seconds); only friendships and
        events strictly before that time count.

        User -1 gets an empty tree. Another salt draws other friends where a user has more than fit;
        serving always uses 0.
        """
        a, b = self.fan_out
        roots, times = self._without_variants(users.reshape(-1)), query_times.reshape(-1)
        near, near_edges = self._draw_friends(roots, times, a, salt)
        far, far_edges = self._draw_friends(near.reshape(-1), np.repeat(times, a), b, salt)
        far, far_edges = far.reshape(-1, a * b), far_edges.reshape(-1, a * b)

        # The order of FriendTrees: the root, its friends, the friends of each.
        nodes = np.concatenate([roots[:, None], near, far], axis=1)
        edges = np.concatenate([near_edges, far_edges], axis=1)
        nodes = nodes.reshape(*users.shape, -1)
        edges = edges.reshape(*users.shape, -1)
        trees = self._with_recent_items(
            self._with_variant(nodes, users), query_times[..., None], edges
        )
        return trees.replace(users=nodes.astype(np.int32))

    def known_friends(
        self, users: np.ndarray, query_times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(first edge, number of edges) of each user [...]: friendships before query_times [...].

        The oldest friendship comes first. User -1 has none.
        """
        rows = self._rows(np.maximum(self._without_variants(users), 0))
        first = self.friends.offsets[rows]
        stop = self.friends.offsets[rows + 1]
        stop = np.where(users < 0, first, stop)
        end = first_at_or_after(self.friends.times, first, stop, query_times)
        return first, end - first

    def friends_at(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(user, weight) at the other end of edges [...]."""
        if not len(self.friends.ids):  # edges are then all zero, and none exists
            return np.zeros(edges.shape, np.int32), np.zeros(edges.shape, np.float32)
        return self.friends.ids[edges], self.friends.weights[edges]

    def visible_history(
        self, users: np.ndarray, query_times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(start, exclusive end) of the events of users [...] that are visible and strictly before
        query_times [...].
        """
        rows = self._rows(users)
        starts = self.events.offsets[rows]
        ends = self.events.ends_before(rows, query_times)
        # The query time alone would show events that the split holds out.
        return starts, np.minimum(ends, self.history_ends[rows])

    def _rows(self, users: np.ndarray) -> np.ndarray:
        """Where the tables of friends and events have users [...]."""
        return users

    def _without_variants(self, users: np.ndarray) -> np.ndarray:
        """Users [...] of the graph, where some may be variants of them."""
        if not len(self._users_of_variants):
            return users
        variants = users - (len(self.friends.offsets) - 1)
        originals = self._users_of_variants[np.maximum(variants, 0)]
        return np.where(variants >= 0, originals, users)

    def _with_variant(self, nodes: np.ndarray, users: np.ndarray) -> np.ndarray:
        """The nodes [..., n] of trees around users [...], who may be variants, everywhere in their
        own trees.
        """
        # Training has no variants, and samples at every step.
        if not len(self._users_of_variants):
            return nodes
        # A user is a friend of friends as well.
        return np.where(nodes == nodes[..., :1], users[..., None], nodes)

    def _draw_friends(
        self, users: np.ndarray, query_times: np.ndarray, k: int, salt: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """k friends of each user [S] at a time: (users [S, k], -1 where absent; edge weights).

        Systematic sampling: one friend from each of k equal stretches of the list, at the same
        random offset in all of them. A drawn friend stands for `scale` friends.
        """
        first, known = self.known_friends(users, query_times)
        first, known = first[:, None], known[:, None]
        scale = np.maximum(known / k, 1.0)
        random = uniform(self.seed, salt, users)[:, None]
        offset = np.where(known > k, random, 0.0)  # k or fewer friends are all taken
        drawn = (np.arange(k)[None] + offset) * scale
        drawn = drawn.astype(np.int64)
        exists = drawn < known

        edges = np.where(exists, first + drawn, 0)
        friends, weights = self.friends_at(edges)
        friends = np.where(exists, friends, -1)
        weights = np.where(exists, weights, 0)
        degrees = self._degree(first, known)
        normaliser = self._normaliser(degrees, friends, weights, query_times[:, None])
        normalised = weights / normaliser * scale
        return friends.astype(np.int32), normalised.astype(np.float32)

    def _normaliser(
        self, degrees: np.ndarray, friends: np.ndarray, weights: np.ndarray, query_times: np.ndarray
    ) -> np.ndarray:
        """sqrt(d_u d_v) of each edge [S, k] of users with degrees [S, 1]; 1 where there is none."""
        first, known = self.known_friends(friends, query_times)
        friend_degrees = self._degree(first, known)
        # In a directed graph the friend may have no friends: count the edge itself at least.
        friend_degrees = np.maximum(friend_degrees, weights)
        product = np.where(weights > 0, degrees * friend_degrees, 1)
        return np.sqrt(product)

    def _degree(self, first: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Sum of the weights of edges first : first + known."""
        return self._running_weights[first + known] - self._running_weights[first]

    def _with_recent_items(
        self, nodes: np.ndarray, query_times: np.ndarray, edges: np.ndarray
    ) -> FriendTrees:
        """The trees of nodes [..., n], each with its last items before query_times [..., 1]."""
        rows, exists = self._recent_rows(nodes, np.broadcast_to(query_times, nodes.shape))
        ages = query_times[..., None] - self.events.times[rows]
        ages = np.where(exists, ages, 0)
        ages = np.clip(ages, 0, np.iinfo(np.int32).max)  # 68 years
        items = np.where(exists, self.events.items[rows], 0)
        return FriendTrees(
            users=nodes.astype(np.int32),
            items=items.astype(np.int32),
            ages=ages.astype(np.int32),
            exists=exists,
            edges=edges,
            fan_out=self.fan_out,
        )

    def _recent_rows(
        self, nodes: np.ndarray, query_times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(row of each recent event [..., r], newest first; whether there is one)."""
        starts, ends = self.visible_history(np.maximum(nodes, 0), query_times)
        rows = ends[..., None] - 1 - np.arange(self.recent)
        is_own = rows >= starts[..., None]
        exists = is_own & (nodes >= 0)[..., None]
        return np.where(exists, rows, 0), exists


def oldest_first(friends: Friends) -> Friends:
    """Each user's friends by the age of the friendship; negative weights become zero."""
    counts = np.diff(friends.offsets)
    owners = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((friends.times, owners))
    return dataclasses.replace(
        friends,
        ids=friends.ids[order],
        weights=np.maximum(friends.weights, 0)[order],
        times=friends.times[order],
    )
