"""Users of a task as a query: users of the run as of a time, or raw events of new ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.query import Query, newcomers
from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.frames import Frame, Ids, find_numbers, read_histories


@dataclasses.dataclass(frozen=True, eq=False)
class NamedQuery:
    """A query of users who are not numbered as in the World, and what its users index."""

    user_ids: Strings
    query: Query
    numbers: np.ndarray  # [U] of the users in the World, -1 for others
    attributes: Mapping[str, Sequence[str]]  # of the users, those that a condition reads


def users_or_histories(
    engine: Engine, as_of: AsOf, users: Ids | None, histories: Frame | None
) -> tuple[Strings, Query]:
    """(ids that the query's users index, query).

    users: ids, all users of the run where None. histories: instead, raw events of new users, or a
    NamedQuery.
    """
    if isinstance(histories, NamedQuery):
        return histories.user_ids, histories.query
    # New users are numbered by themselves, beside those of the run.
    if histories is None:
        numbers = user_numbers(engine.world, users)
        return engine.world.user_ids, engine.query(numbers, as_of)
    if users is not None or not as_of.is_now:
        raise UsageError(
            "--histories goes with neither --users nor --as-of: it brings its own users and events"
        )
    user_ids, events = read_histories(histories, engine.world)
    return user_ids, newcomers(events, np.arange(len(user_ids)))


def user_numbers(world: World, users: Ids | None) -> np.ndarray:
    """The numbers of users (ids, all where None). Raises BadData where one is unknown."""
    if users is None:
        return np.flatnonzero(~world.deleted_users)
    return find_numbers(world.user_ids, users, "user")
