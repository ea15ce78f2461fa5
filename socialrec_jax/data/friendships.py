"""Friendships as pairs of users, and the friend graph that they make."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.csr import offsets_of, ranges, sorted_distinct
from socialrec_jax.data.world import Friends


@dataclasses.dataclass(frozen=True)
class Friendships:
    """E pairs of users, in the order of the columns src and dst of a social table."""

    sources: np.ndarray  # [E] int64
    targets: np.ndarray  # [E] int64
    weights: np.ndarray  # [E] float32
    times: np.ndarray  # [E] int64 unix seconds since when, NO_TIME where unknown

    def renumbered(self, numbers: np.ndarray) -> Friendships:
        """The same pairs of users with other numbers; numbers: new one by old one."""
        return dataclasses.replace(
            self, sources=numbers[self.sources], targets=numbers[self.targets]
        )

    def read_as(self, direction: str) -> Friendships:
        """The pairs (who is informed, by whom); see `config.DataConfig.social_direction`."""
        if direction == "out":
            return self
        reversed_pairs = dataclasses.replace(self, sources=self.targets, targets=self.sources)
        return reversed_pairs if direction == "in" else self.and_those_of(reversed_pairs)

    def and_those_of(self, other: Friendships) -> Friendships:
        """These pairs, and others after them."""
        return Friendships(
            sources=np.concatenate([self.sources, other.sources]),
            targets=np.concatenate([self.targets, other.targets]),
            weights=np.concatenate([self.weights, other.weights]),
            times=np.concatenate([self.times, other.times]),
        )

    def lists_of(self, users: np.ndarray, num_users: int) -> Friends:
        """The friends of each of users [P] by number; every source is one of them.

        num_users: of the whole graph. Of a repeated pair the largest weight and the earliest time
        stay, as when tables are read. Nobody is their own friend.
        """
        order = np.argsort(users)
        places = order[np.searchsorted(users[order], self.sources)]
        is_pair = self.sources != self.targets
        keys = (places * num_users + self.targets)[is_pair]
        pairs = sorted_distinct(keys)
        pair_of_row = np.searchsorted(pairs, keys)

        weights = np.zeros(len(pairs), np.float32)
        np.maximum.at(weights, pair_of_row, self.weights[is_pair])
        times = np.full(len(pairs), np.iinfo(np.int64).max)
        np.minimum.at(times, pair_of_row, self.times[is_pair])
        owners, ids = np.divmod(pairs, num_users)
        return Friends(offsets_of(owners, len(users)), ids.astype(np.int32), weights, times)


def friendships_of(friends: Friends, users: np.ndarray) -> Friendships:
    """The pairs (user, friend) of some users [n] of a friend graph."""
    starts = friends.offsets[users]
    lengths = friends.offsets[users + 1] - starts
    rows = ranges(starts, lengths)
    return Friendships(
        sources=np.repeat(users, lengths),
        targets=friends.ids[rows].astype(np.int64),
        weights=friends.weights[rows],
        times=friends.times[rows],
    )
