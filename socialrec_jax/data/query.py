"""One query: a user, what of the user's history is visible, and the time of the query."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.world import NOW, Events, World


@dataclasses.dataclass(frozen=True)
class Query:
    """Q users, each with everything that may be known at the time of the query."""

    events: Events
    users: np.ndarray  # [Q] int64, which users of events
    history_ends: np.ndarray  # [Q] int64, exclusive row where the visible history ends
    query_times: np.ndarray  # [Q] int64 unix seconds: of friends, only what is older is known
    friend_sampler: FriendSampler | None = None  # None: the users' friends are not known
    request_times: np.ndarray | None = None  # [Q] int64 unix seconds, for models that see them
    as_of: AsOf = NOW  # what the events of everybody are cut to

    def __len__(self) -> int:
        return len(self.users)

    def part(self, rows: slice | np.ndarray) -> Query:
        """Some of the queries alone."""
        request_times = self.request_times
        return dataclasses.replace(
            self,
            users=self.users[rows],
            history_ends=self.history_ends[rows],
            query_times=self.query_times[rows],
            request_times=None if request_times is None else request_times[rows],
        )


def query_as_of(world: World, users: np.ndarray, as_of: AsOf) -> Query:
    """Users [Q] of the World as of a time, without their friends.

    A unix time is the request time as well.
    """
    request_times = None
    if as_of.seconds is not None:
        request_times = np.full(len(users), as_of.seconds, np.int64)
    return Query(
        events=world.events,
        users=users,
        history_ends=world.history_ends(as_of)[users],
        query_times=world.query_times(as_of)[users],
        request_times=request_times,
        as_of=as_of,
    )


def friend_sampler_of(world: World, seed: int = 0) -> FriendSampler | None:
    """The sampler of all friendships of a World, None where there are none."""
    if not len(world.friends.ids):
        return None
    return FriendSampler(world.events, world.friends, world.history_ends(), seed=seed)


def newcomers(events: Events, users: np.ndarray) -> Query:
    """Users [Q] that the World does not know: all events are visible, and they have no friends."""
    none = np.zeros(len(users), np.int64)
    return Query(events, users, history_ends=events.offsets[users + 1], query_times=none)
