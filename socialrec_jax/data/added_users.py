"""The events and friends of a World together with people and friendships that it does not know.

What is added lies beside the World's columns, and no column is copied. Trees and friends' events
are those of a World that the same tables were appended to: new users are numbered after all others,
and a user who gains a friendship is read with all of them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.batch import FriendTrees
from socialrec_jax.data.batching.friend_sampler import FriendSampler, oldest_first
from socialrec_jax.data.csr import is_among, offsets_of, ranges
from socialrec_jax.data.friendships import Friendships, friendships_of
from socialrec_jax.data.joined_columns import events_at, joined, joined_events, joined_offsets
from socialrec_jax.data.world import Events, Friends


@dataclasses.dataclass(frozen=True)
class AddedUsers:
    """m users with their whole histories, and friendships among them and users of the World."""

    numbers: np.ndarray  # [m] int64, in the World; new users have U, U + 1, ... in any order
    events: Events  # of the m users
    friendships: Friendships  # (who is informed, by whom), by these numbers


class ExtendedSampler(FriendSampler):
    """The friend graph of a World with added users.

    New users have no embedding: they are known by their events and friends.
    """

    def __init__(self, sampler: FriendSampler, added: AddedUsers):
        # The graph and the events are shared.
        self.__dict__.update(sampler.__dict__)
        self._num_known = len(sampler.friends.offsets) - 1
        self._changed, num_new = _changed_users(added, self._num_known)
        self._first_changed = self._num_known + num_new

        users = np.concatenate([self._num_known + np.arange(num_new), self._changed])
        self._join_events(_histories_of(users, added, sampler))
        self._join_friends(_friends_of(users, added, sampler))

    def _join_events(self, histories: Events) -> None:
        """Let the histories follow after the World's."""
        ends = self.num_events + histories.offsets[1:]
        self.history_ends = joined(self.history_ends, ends)
        self.events = joined_events(self.events, histories)

    def _join_friends(self, friends: Friends) -> None:
        """Let the lists of friends follow after the World's."""
        known, running = self.friends, self._running_weights
        weights = np.cumsum(friends.weights, dtype=np.float64)
        self._running_weights = joined(running, running[-1] + weights)
        self.friends = Friends(
            offsets=joined_offsets(known.offsets, friends.offsets),
            ids=joined(known.ids, friends.ids),
            weights=joined(known.weights, friends.weights),
            times=joined(known.times, friends.times),
        )

    def _rows(self, users: np.ndarray) -> np.ndarray:
        # New users stand at their numbers, and after them the known ones who have changed.
        if not len(self._changed):
            return users
        places = self._first_changed + np.searchsorted(self._changed, users)
        return np.where(is_among(users, self._changed), places, users)

    def sample(self, users: np.ndarray, query_times: np.ndarray, salt: int = 0) -> FriendTrees:
        trees = super().sample(users, query_times, salt)
        has_embedding = trees.users < self._num_known
        return trees.replace(users=np.where(has_embedding, trees.users, -1))


def _changed_users(added: AddedUsers, num_known: int) -> tuple[np.ndarray, int]:
    """(users of the World with another history or more friends, rising; number of new users)."""
    named = np.unique(np.concatenate([added.numbers, added.friendships.sources]))
    return named[named < num_known], int((added.numbers >= num_known).sum())


def _histories_of(users: np.ndarray, added: AddedUsers, sampler: FriendSampler) -> Events:
    """The events of users [P]: the added histories, and the visible ones of the others."""
    order = np.argsort(added.numbers)
    numbers = added.numbers[order]
    is_added = is_among(users, numbers)
    places = order[np.where(is_added, np.searchsorted(numbers, users), 0)]
    # The World's rows come first, those of the added histories after them.
    of_world = np.where(is_added, 0, users)
    added_starts = sampler.num_events + added.events.offsets
    starts = np.where(is_added, added_starts[places], sampler.events.offsets[of_world])
    ends = np.where(is_added, added_starts[places + 1], sampler.history_ends[of_world])

    rows = ranges(starts, ends - starts)
    owners = np.repeat(np.arange(len(users)), ends - starts)
    events = joined_events(sampler.events, added.events)
    return events_at(events, rows, offsets_of(owners, len(users)))


def _friends_of(users: np.ndarray, added: AddedUsers, sampler: FriendSampler) -> Friends:
    """All friends of users [P], the oldest friendship first; new users are the first of them."""
    num_known = len(sampler.friends.offsets) - 1
    is_known = users < num_known
    known = friendships_of(sampler.friends, users[is_known])
    num_users = num_known + int((~is_known).sum())
    return oldest_first(known.and_those_of(added.friendships).lists_of(users, num_users))


class RenumberedSampler(FriendSampler):
    """The friends of users who are numbered by their places in a list; friends keep their numbers.

    numbers [q]: the users' numbers in the friend graph, -1 for users without friends.
    """

    def __init__(self, sampler: FriendSampler, numbers: np.ndarray):
        # The graph and the events are shared.
        self.__dict__.update(sampler.__dict__)
        self._sampler = sampler
        self._numbers = np.append(numbers, -1)  # place -1 pads, and has no friends

    def sample(self, users: np.ndarray, query_times: np.ndarray, salt: int = 0) -> FriendTrees:
        return self._sampler.sample(self._numbers[users], query_times, salt)

    def known_friends(
        self, users: np.ndarray, query_times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._sampler.known_friends(self._numbers[users], query_times)

    def visible_history(
        self, users: np.ndarray, query_times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._sampler.visible_history(users, query_times)

    def with_variants(self, histories: Events, users: np.ndarray) -> FriendSampler:
        variants = self._sampler.with_variants(histories, self._numbers[users])
        first = len(self.friends.offsets) - 1
        numbers = np.concatenate([self._numbers[:-1], first + np.arange(len(users))])
        return RenumberedSampler(variants, numbers)
