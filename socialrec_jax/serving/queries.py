"""Users of a task as a query: users of the run as of a time, or raw events of new ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.query import Query, newcomers
from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.frames import (
    Frame,
    Ids,
    arrow_strings,
    find_numbers,
    read_histories,
)
from socialrec_jax.serving.people import people_of, query_of

NO_IDS = Strings.of([])


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class UserQuery:
    """A query with the names of its users, and of friends whom the World does not know."""

    user_ids: Strings  # that the query's users index
    query: Query
    new_ids: Strings  # of friends whose numbers follow after the World's


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class NamedQuery(UserQuery):
    """A query of users who are not numbered as in the World, and what is known of them."""

    numbers: np.ndarray  # [U] of the users in the World, -1 for others
    attributes: Mapping[str, Sequence[str]]  # of the users, those that a condition reads


@dataclasses.dataclass(frozen=True, eq=False)
class HistoriesWithFriends:
    """Raw events of new users, and a social table that says whom they know."""

    events: Frame
    friends: Frame


def with_friends(histories: Frame | None, friends: Frame | None) -> Frame | None:
    """Both as one source. UsageError for friends without histories."""
    if friends is None:
        return histories
    if histories is None:
        raise UsageError("friends go with histories: they say whom these new users know")
    return HistoriesWithFriends(histories, friends)


def users_or_histories(
    engine: Engine, as_of: AsOf, users: Ids | None, histories: Frame | None
) -> UserQuery:
    """The query of a task.

    users: ids, all users of the run where None. histories: instead, raw events of new users with or
    without friends, or a NamedQuery.
    """
    if isinstance(histories, NamedQuery):
        return histories
    # New users are numbered by themselves, beside those of the run.
    if histories is None:
        numbers = user_numbers(engine.world, users)
        query = engine.query(numbers, as_of)
        return UserQuery(user_ids=engine.world.user_ids, query=query, new_ids=NO_IDS)
    if users is not None or not as_of.is_now:
        raise UsageError(
            "--histories goes with neither --users nor --as-of: it brings its own users and events"
        )
    return _query_of_histories(engine, histories)


def _query_of_histories(engine: Engine, histories: Frame) -> UserQuery:
    friends = None
    if isinstance(histories, HistoriesWithFriends):
        histories, friends = histories.events, histories.friends
    raw = read_histories(histories, friends, engine.world)
    if not len(raw.friendships.sources):
        query = newcomers(raw.events, np.arange(len(raw.user_ids)))
        return UserQuery(user_ids=raw.user_ids, query=query, new_ids=NO_IDS)
    people = people_of(raw, engine.world)
    # Friends bring the whole friend graph, and so a sampler of it.
    query, new_ids = query_of(engine, people)
    user_ids = people.ids.take(query.users)
    return UserQuery(user_ids=user_ids, query=query, new_ids=new_ids)


def friend_names(world: World, new_ids: Strings) -> pa.Array:
    """The ids of users by number: those of the World, and new ones after them."""
    names = arrow_strings(world.user_ids)
    return pa.concat_arrays([names, arrow_strings(new_ids)]) if len(new_ids) else names


def user_numbers(world: World, users: Ids | None) -> np.ndarray:
    """The numbers of users (ids, all where None). Raises BadData where one is unknown."""
    if users is None:
        return np.flatnonzero(~world.deleted_users)
    return find_numbers(world.user_ids, users, "user")
