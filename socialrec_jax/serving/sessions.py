"""Users with the events of their session: what happened since the run's tables were read.

A user of the run keeps history and friends, and gets the session's events after them. Other users
are known by the session's events alone, as with `--histories`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np

from socialrec_jax.batch import FriendTrees
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import offsets_of, ranges
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import NOW, Events, World
from socialrec_jax.errors import BadData
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.queries import NamedQuery


@dataclasses.dataclass(frozen=True)
class SessionEvents:
    """m events of a session, in any order."""

    owners: np.ndarray  # [m] int64, places in the session's list of users
    items: np.ndarray  # [m] int32, of the World
    times: np.ndarray  # [m] int64, unix seconds
    types: np.ndarray  # [m] uint8

    @classmethod
    def of(
        cls,
        world: World,
        owners: Sequence[int],
        item_ids: Sequence[str],
        times: Sequence[int | None],
        types: Sequence[str | None],
    ) -> SessionEvents:
        """The events of columns; a missing time is the present, a missing type the first one.

        Events of items that the World does not know are left out. Raises BadData for an event type
        that it does not know.
        """
        now = int(time.time())
        items = world.items.ids.lookup(item_ids)
        numbers = _type_numbers(world.event_types, types)
        seconds = np.array([now if given is None else given for given in times], np.int64)
        known = items >= 0
        return cls(
            np.asarray(owners, np.int64)[known],
            items[known].astype(np.int32),
            seconds[known],
            numbers[known],
        )


def _type_numbers(names: Sequence[str], types: Sequence[str | None]) -> np.ndarray:
    number_of = {name: number for number, name in enumerate(names)}
    for name in types:
        if name is not None and name not in number_of:
            raise BadData(f"event_type {name!r} is unknown to this run: choose {', '.join(names)}")
    return np.array([0 if name is None else number_of[name] for name in types], np.uint8)


def session_query(
    engine: Engine,
    numbers: np.ndarray,
    session: SessionEvents,
    attributes: Mapping[str, Sequence[str]],
) -> NamedQuery:
    """The query as of now of users with session events.

    numbers [q]: the users' numbers in the World, -1 for others. attributes: {name: values [q]}. The
    ids of the query's users are their places in this list, as texts.
    """
    world = engine.world
    events = _with_session(world, numbers, session)
    places = np.arange(len(numbers))
    # Friends are known until now, of users whom the World knows.
    now = int(world.query_times(NOW).max(initial=0))
    sampler = engine.friend_sampler
    query = Query(
        events,
        places,
        history_ends=events.offsets[1:],
        query_times=np.where(numbers < 0, 0, now),
        friend_sampler=None if sampler is None else _RenumberedSampler(sampler, numbers),
    )
    ids = Strings.of([str(place) for place in places.tolist()])
    return NamedQuery(ids, query, numbers, attributes)


def user_values(
    world: World, name: str, numbers: np.ndarray, given: Sequence[str | None]
) -> list[str]:
    """An attribute of users [q]: the given value, or that of the users table, or "".

    numbers [q]: the users' numbers in the World, -1 for others.
    """
    column = world.attributes[name]
    known = [column[number] if number >= 0 else "" for number in numbers.tolist()]
    pairs = zip(known, given, strict=True)
    return [of_table if value is None else value for of_table, value in pairs]


def _with_session(world: World, numbers: np.ndarray, session: SessionEvents) -> Events:
    """The histories of users [q] with the session's events, oldest first."""
    is_known = numbers >= 0
    users = np.maximum(numbers, 0)
    starts = world.events.offsets[users]
    lengths = np.where(is_known, world.events.offsets[users + 1] - starts, 0)
    rows = ranges(starts, lengths)
    owners = np.concatenate([np.repeat(np.arange(len(numbers)), lengths), session.owners])
    times = np.concatenate([world.events.times[rows], session.times])

    # The sort is stable, so that at equal times the history comes first.
    order = np.lexsort((times, owners))
    values = np.ones(len(session.items), np.float32)
    return Events(
        offsets=offsets_of(owners, len(numbers)),
        items=np.concatenate([world.events.items[rows], session.items])[order],
        times=times[order],
        types=np.concatenate([world.events.types[rows], session.types])[order],
        values=np.concatenate([world.events.values[rows], values])[order],
    )


class _RenumberedSampler(FriendSampler):
    """The friends of users who are numbered by their places in a list; friends keep their numbers.

    numbers [q]: the users' numbers in the World, -1 for users without friends.
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
