"""Users with the events of their session: what happened since the run's tables were read.

A user of the run keeps history and friends, and gets the session's events after them. Other users
are known by the session's events alone, as with `--histories`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np

from socialrec_jax.data.added_users import RenumberedSampler
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import offsets_of, ranges
from socialrec_jax.data.friendships import Friendships
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import NOW, Events, World
from socialrec_jax.errors import BadData
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.people import People, query_of
from socialrec_jax.serving.queries import NO_IDS, NamedQuery


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
        # No vector and no count stands for an unknown item.
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


@dataclasses.dataclass(frozen=True)
class SessionFriends:
    """Whom the users of a session know, and the ids of friends who are none of these users."""

    others: Sequence[str]
    friendships: Friendships  # (who is informed, by whom): places in the users, then in others


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
    # Friends are known until now, of users whom the World knows.
    now = int(world.query_times(NOW).max(initial=0))
    sampler = engine.friend_sampler
    query = Query(
        events,
        users=np.arange(len(numbers)),
        history_ends=events.offsets[1:],
        query_times=np.where(numbers < 0, 0, now),
        friend_sampler=None if sampler is None else RenumberedSampler(sampler, numbers),
    )
    return _named_by_places(query, NO_IDS, numbers, attributes)


def session_query_with_friends(
    engine: Engine,
    user_ids: Sequence[str],
    session: SessionEvents,
    friends: SessionFriends,
    attributes: Mapping[str, Sequence[str]],
) -> NamedQuery:
    """The same of users who bring friendships, which are added to those of the run."""
    world = engine.world
    ids = Strings.of([*user_ids, *friends.others])
    numbers = world.user_ids.lookup(ids)
    is_user = np.arange(len(ids)) < len(user_ids)
    people = People(
        ids=ids,
        numbers=numbers,
        # Friends who are no users of the request have no events here.
        events=_with_session(world, np.where(is_user, numbers, -1), session),
        has_history=is_user | (numbers < 0),
        friendships=friends.friendships,
        num_answered=len(user_ids),
    )
    query, new_ids = query_of(engine, people)
    return _named_by_places(query, new_ids, numbers[is_user], attributes)


def _named_by_places(
    query: Query, new_ids: Strings, numbers: np.ndarray, attributes: Mapping[str, Sequence[str]]
) -> NamedQuery:
    """A query whose users have their places as ids; numbers [q]: of the users in the World."""
    places = Strings.of([str(place) for place in range(len(numbers))])
    return NamedQuery(
        user_ids=places, query=query, new_ids=new_ids, numbers=numbers, attributes=attributes
    )


def user_values(
    world: World, name: str, numbers: np.ndarray, given: Sequence[str | None]
) -> list[str]:
    """An attribute of users [q]: the given value, or that of the users table, or "".

    numbers [q]: the users' numbers in the World, -1 for others.
    """
    column = world.attributes[name]
    # The World has no row of new users.
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
