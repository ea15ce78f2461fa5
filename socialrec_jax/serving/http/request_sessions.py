"""The users of requests: who they are, their events and their friends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from socialrec_jax.config import DataConfig
from socialrec_jax.data.friendships import Friendships
from socialrec_jax.data.world import NO_TIME, World
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.http import bodies
from socialrec_jax.serving.queries import NamedQuery
from socialrec_jax.serving.sessions import (
    SessionEvents,
    SessionFriends,
    session_query,
    session_query_with_friends,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Session:
    """The q users of a request."""

    users: Sequence[str]
    numbers: np.ndarray  # [q] in the World, -1 for new users
    events: SessionEvents
    friends: SessionFriends | None  # None: the request brings none


def session_of(world: World, users: Sequence[str], body: bodies.SessionBody) -> Session:
    """The session of a request.

    BadData: a user is unknown. UsageError: users, events and friends do not fit.
    """
    place_of = {user: place for place, user in enumerate(users)}
    # Rows of an answer are found by user, so that each may come once.
    if len(place_of) < len(users):
        raise UsageError("users: an id is given twice")
    numbers = world.user_ids.lookup(users)
    _check_users(place_of, numbers, body)
    events = SessionEvents.of(
        world,
        [place_of[event.user_id] for event in body.events],
        [event.item_id for event in body.events],
        [event.timestamp for event in body.events],
        [event.event_type for event in body.events],
    )
    return Session(users, numbers, events, _friends_of(world, place_of, body.friends))


def _check_users(
    place_of: Mapping[str, int], numbers: np.ndarray, body: bodies.SessionBody
) -> None:
    """Raises UsageError where a row is of another user, BadData where a user is unknown."""
    named = [("events", event.user_id) for event in body.events]
    named += [("friends", friend.user_id) for friend in body.friends]
    for field, user in named:
        if user not in place_of:
            raise UsageError(f"{field}: {user!r} is none of the users of the request")

    # Whoever is described by the request need not be known.
    described = {user for _, user in named}
    for user, place in place_of.items():
        if numbers[place] < 0 and not (body.new_users or user in described):
            raise BadData(
                f"user {user!r} is unknown to this run: give events, friends, or new_users: true"
            )


def _friends_of(
    world: World, place_of: Mapping[str, int], friends: Sequence[bodies.Friend]
) -> SessionFriends | None:
    """place_of: users of the request by id."""
    if not friends:
        return None
    others = [friend.friend_id for friend in friends if friend.friend_id not in place_of]
    # Each friend once, in the order of the request.
    others = list(dict.fromkeys(others))
    places = {**place_of, **{name: len(place_of) + n for n, name in enumerate(others)}}
    times = [NO_TIME if friend.timestamp is None else friend.timestamp for friend in friends]
    named = Friendships(
        sources=np.array([places[friend.user_id] for friend in friends], np.int64),
        targets=np.array([places[friend.friend_id] for friend in friends], np.int64),
        weights=np.array([friend.weight for friend in friends], np.float32),
        times=np.array(times, np.int64),
    )
    direction = DataConfig(**world.manifest.get("data", {})).social_direction
    return SessionFriends(others, named.read_as(direction))


def joined_query(
    engine: Engine, sessions: Sequence[Session], attributes: Mapping[str, Sequence[str]]
) -> NamedQuery:
    """One query of the users of all sessions, one session after the other.

    attributes: {name: values of these users}. A session with friends comes alone.
    """
    first = sessions[0]
    if first.friends is not None:
        return session_query_with_friends(
            engine, first.users, first.events, first.friends, attributes
        )
    numbers = np.concatenate([session.numbers for session in sessions])
    return session_query(engine, numbers, _joined_events(sessions), attributes)


def _joined_events(sessions: Sequence[Session]) -> SessionEvents:
    """The events of all sessions, whose users are numbered one session after the other."""
    counts = [len(session.users) for session in sessions]
    begins = np.cumsum([0, *counts[:-1]])
    parts = [session.events for session in sessions]
    owners = [begin + part.owners for begin, part in zip(begins, parts, strict=True)]
    return SessionEvents(
        np.concatenate(owners),
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.types for part in parts]),
    )
