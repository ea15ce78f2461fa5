"""People who come with friendships, in raw tables or in a request, as a query.

Answers are those of a World that the same tables were appended to, with the parameters and the
counts of this run: friends' trees and events, features, and reasons.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from socialrec_jax.data.added_users import AddedUsers, ExtendedSampler, RenumberedSampler
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import offsets_of, ranges
from socialrec_jax.data.friendships import Friendships
from socialrec_jax.data.joined_columns import events_at
from socialrec_jax.data.prepare.histories import RawHistories
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events, World
from socialrec_jax.inference.engine import Engine


@dataclasses.dataclass(frozen=True, eq=False)
class People:
    """m people and friendships among them; the first of them are those who are answered."""

    ids: Strings  # [m]
    numbers: np.ndarray  # [m] int64, in the World, -1 for new users
    events: Events  # of the m people
    has_history: np.ndarray  # [m] bool: the events are the whole history; else the World's is
    friendships: Friendships  # (who is informed, by whom), by place in this list
    num_answered: int


def people_of(raw: RawHistories, world: World) -> People:
    """The people of raw tables.

    Whoever has events there is new, whatever the World knows. Those are answered, and whoever else
    is new and stands in the column src.
    """
    numbers = np.where(raw.has_events, -1, world.user_ids.lookup(raw.user_ids))
    is_new = numbers < 0
    is_answered = raw.has_events | (is_new & raw.is_source)
    order = np.argsort(~is_answered, kind="stable")
    return People(
        ids=raw.user_ids.take(order),
        numbers=numbers[order],
        events=_of_users(raw.events, order),
        has_history=is_new[order],
        friendships=raw.friendships.renumbered(np.argsort(order)),
        num_answered=int(is_answered.sum()),
    )


def query_of(engine: Engine, people: People) -> tuple[Query, Strings]:
    """(the query as of now of the people who are answered, the ids of all new people).

    Friends' numbers beyond the World's are places in these ids.
    """
    world = engine.world
    numbers, new = _numbered(people, world.num_users)
    given = np.flatnonzero(people.has_history)
    added = AddedUsers(
        numbers=numbers[given],
        events=_of_users(people.events, given),
        friendships=people.friendships.renumbered(numbers),
    )
    sampler = ExtendedSampler(_sampler_of(engine), added)
    answered = np.arange(people.num_answered)
    query = Query(
        people.events,
        answered,
        history_ends=people.events.offsets[answered + 1],
        query_times=np.full(len(answered), _after_all(world, added)),
        friend_sampler=RenumberedSampler(sampler, numbers),
    )
    return query, people.ids.take(new)


def _numbered(people: People, num_known: int) -> tuple[np.ndarray, np.ndarray]:
    """(numbers [m] in the World with these people, the places of new people by their numbers)."""
    # By the md5 of their ids, as an append numbers them: which friends a tree shows, where there
    # are more than it holds, follows from the number.
    new = np.flatnonzero(people.numbers < 0)
    new = np.array(sorted(new.tolist(), key=lambda place: _md5(people.ids[place])), np.int64)
    numbers = people.numbers.copy()
    numbers[new] = num_known + np.arange(len(new))
    return numbers, new


def _md5(text: str) -> tuple[str, str]:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), text


def _of_users(events: Events, users: np.ndarray) -> Events:
    """The events of some users [n], in their order."""
    starts = events.offsets[users]
    lengths = events.offsets[users + 1] - starts
    owners = np.repeat(np.arange(len(users)), lengths)
    return events_at(events, ranges(starts, lengths), offsets_of(owners, len(users)))


def _sampler_of(engine: Engine) -> FriendSampler:
    """The sampler of the World's friendships, of which there may be none."""
    if engine.friend_sampler is not None:
        return engine.friend_sampler
    world, seed = engine.world, engine.config.seed
    return FriendSampler(world.events, world.friends, world.history_ends(), seed=seed)


def _after_all(world: World, added: AddedUsers) -> int:
    """A second after the last event or friendship of the World and of what is added."""
    columns = (added.events.times, added.friendships.times)
    newest = [int(times.max()) for times in columns if len(times)]
    now = int(world.query_times().max(initial=0))
    return max([now, *(1 + time for time in newest)])
