"""Who stood around a user at a moment: trees of friends and of their friends, with what each of
them did last.

A tree is a function of its user, moment and salt, and never of the other queries. All of its shapes
are fixed.
"""

from __future__ import annotations

import copy
import dataclasses

import numpy as np

from socialrec_jax.batch import FriendTrees
from socialrec_jax.data.counter_rng import uniform
from socialrec_jax.data.csr import first_at_or_after, ranges
from socialrec_jax.data.world import Events, Friends

FAN_OUT = (10, 5)  # friends of the user, friends of each friend
RECENT = 8
_MOST_FRIENDS, _MOST_DEEDS = 50, 100  # that `deeds` tells of


@dataclasses.dataclass(frozen=True)
class FriendEvents:
    """What the friends of q users did: n events, friend by friend."""

    num_friends: np.ndarray  # [q]
    queries: np.ndarray  # [n] whose friend
    edges: np.ndarray  # [n] which friendship, counted over all queries
    weights: np.ndarray  # [n] of the friendship
    items: np.ndarray  # [n]
    ages: np.ndarray  # [n] events of the friend since then: 0 is the latest


class FriendSampler:
    """The friend graph and what everybody did, cut to any moment.

    ends [U]: how much of each user's events may be known at all, from `World.ends`. Friends are
    sorted by the age of the friendship, so those known before a moment come first, and running sums
    of weights tell a user's weighted degree at that moment in one lookup.
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
        self.events, self.history_ends = events, history_ends
        self.fan_out, self.recent, self.seed = fan_out, recent, seed
        owners = np.repeat(np.arange(len(friends.offsets) - 1), np.diff(friends.offsets))
        order = np.lexsort((friends.times, owners))
        weights = np.maximum(friends.weights, 0)  # what is negative is no friendship
        self.friends = dataclasses.replace(
            friends, ids=friends.ids[order], weights=weights[order], times=friends.times[order]
        )
        self._running = np.concatenate([[0], np.cumsum(self.friends.weights, dtype=np.float64)])

    def sample(self, users: np.ndarray, query_times: np.ndarray, salt: int = 0) -> FriendTrees:
        """The trees [...] of users [...] at moments [...] (unix seconds): only what is strictly
        older counts.

        User -1 stands for nobody and gets an empty tree. salt: another one draws other friends
        where there are too many of them; serving always uses 0.
        """
        a, b = self.fan_out
        roots, when = users.reshape(-1), query_times.reshape(-1)
        near, near_edges = self._draw(roots, when, a, salt)
        far, far_edges = self._draw(near.reshape(-1), np.repeat(when, a), b, salt)
        nodes = np.concatenate([roots[:, None], near, far.reshape(-1, a * b)], axis=1)
        edges = np.concatenate([near_edges, far_edges.reshape(-1, a * b)], axis=1)
        return self._with_recent(
            nodes.reshape(*users.shape, -1), query_times[..., None], edges.reshape(*users.shape, -1)
        )

    def _draw(
        self, users: np.ndarray, query_times: np.ndarray, k: int, salt: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """k friends of each user [S] at a moment, and their edges' weights: ([S, k] or -1, [S, k]).

        Systematic sampling: one friend from each of k equal stretches, at the same random place in
        all of them.
        """
        begin, known = self._known(users, query_times)
        scale = np.maximum(known / k, 1.0)
        start = np.where(known > k, uniform(self.seed, salt, users), 0.0)
        place = ((np.arange(k)[None] + start[:, None]) * scale[:, None]).astype(np.int64)
        exists = place < known[:, None]
        row = np.where(exists, begin[:, None] + place, 0)
        friends = np.where(exists, self._column("ids", row), -1)
        weights = np.where(exists, self._column("weights", row), 0)
        degree = self._degree(begin, known)[:, None]
        # In a directed graph a friend may have no friends: the edge itself is the least that he
        # counts for.
        other = np.maximum(self._degree(*self._known(friends, query_times[:, None])), weights)
        normal = np.sqrt(np.where(weights > 0, degree * other, 1))
        return friends.astype(np.int32), (weights / normal * scale[:, None]).astype(np.float32)

    def _known(self, users: np.ndarray, query_times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first row, number) of the friends of each user [...] who were friends before the
        moment.
        """
        real = np.maximum(users, 0)
        begin, stop = self.friends.offsets[real], self.friends.offsets[real + 1]
        stop = np.where(users < 0, begin, stop)
        return begin, first_at_or_after(self.friends.times, begin, stop, query_times) - begin

    def _degree(self, begin: np.ndarray, known: np.ndarray) -> np.ndarray:
        return self._running[begin + known] - self._running[begin]

    def _column(self, name: str, rows: np.ndarray) -> np.ndarray:
        column = getattr(self.friends, name)
        return column[rows] if len(column) else np.zeros(rows.shape, column.dtype)

    def _with_recent(
        self, nodes: np.ndarray, query_times: np.ndarray, edges: np.ndarray
    ) -> FriendTrees:
        """The trees of nodes [..., n] with what each of them did last before moments [..., 1]."""
        real = np.maximum(nodes, 0)
        history_ends = np.minimum(
            self.events.ends_before(real, np.broadcast_to(query_times, nodes.shape)),
            self.history_ends[real],
        )
        rows = history_ends[..., None] - 1 - np.arange(self.recent)
        exists = (rows >= self.events.offsets[real][..., None]) & (nodes >= 0)[..., None]
        rows = np.where(exists, rows, 0)
        age = np.where(exists, query_times[..., None] - self.events.times[rows], 0)
        return FriendTrees(
            users=nodes.astype(np.int32),
            items=np.where(exists, self.events.items[rows], 0).astype(np.int32),
            ages=np.clip(age, 0, np.iinfo(np.int32).max).astype(np.int32),
            exists=exists,
            edges=edges,
            fan_out=self.fan_out,
        )

    def friend_events(self, users: np.ndarray, query_times: np.ndarray) -> FriendEvents:
        """What the friends of users [q] did strictly before moments [q], the latest of each
        friend.
        """
        begin, known = self._known(users, query_times)
        count = np.minimum(known, _MOST_FRIENDS)
        edges = ranges(begin + known - count, count)  # the newest friendships
        query, friends = np.repeat(np.arange(len(users)), count), self._column("ids", edges)
        history_ends = np.minimum(
            self.events.ends_before(friends, query_times[query]), self.history_ends[friends]
        )
        lengths = np.minimum(history_ends - self.events.offsets[friends], _MOST_DEEDS)
        rows = ranges(history_ends - lengths, lengths)
        return FriendEvents(
            num_friends=known,
            queries=np.repeat(query, lengths),
            edges=np.repeat(np.arange(len(edges)), lengths),
            weights=np.repeat(self._column("weights", edges), lengths),
            items=self.events.items[rows],
            ages=np.repeat(history_ends, lengths) - 1 - rows,
        )

    def until(self, history_ends: np.ndarray) -> FriendSampler:
        """The same graph where other rows `ends` [U] of the events may be known."""
        other = copy.copy(self)
        other.history_ends = history_ends
        return other
