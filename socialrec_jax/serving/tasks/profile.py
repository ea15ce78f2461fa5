"""The portrait of each user: interests, what comes next, and the friends that matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.csr import Pairs, offsets_of, ranges
from socialrec_jax.data.features.sparse_rows import positions
from socialrec_jax.data.query import Query
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.frames import Frame, Ids, arrow_strings
from socialrec_jax.serving.labels import Labels
from socialrec_jax.serving.option_types import check_types
from socialrec_jax.serving.queries import UserQuery, friend_names, users_or_histories
from socialrec_jax.serving.ranked_tables import typed_table
from socialrec_jax.serving.top_rows import best_rows, list_column
from socialrec_jax.serving.user_tables import UserTables

_USERS_AT_ONCE = 4096

# Of each user: the newest events, each weighing half as much as the one 20 events later.
_MAX_EVENTS = 200
_HALF_LIFE = 20

# Of each user: the newest friendships, and the newest events of each friend.
_MAX_FRIENDS = 50
_MAX_FRIEND_EVENTS = 100

_INTEREST = pa.list_(pa.struct([("name", pa.string()), ("share", pa.float32())]))
_FRIEND = pa.list_(
    pa.struct(
        [("user_id", pa.string()), ("shared_items", pa.int32()), ("similarity", pa.float32())]
    )
)
_EVENT = pa.struct(
    [("item_id", pa.string()), ("event_type", pa.string()), ("timestamp", pa.int64())]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """Options of the task, besides the users."""

    top: int = 5  # tags, categories and friends of a user
    histories: Frame | None = None  # events of new users, instead of users of the run


def schema(event_types: list[str]) -> pa.Schema:
    """The columns, one row a user.

    vector: the user's state, whose product with an item's vector is what the retriever sorts by.
    top_tags, top_categories: the share of the user's events that have it, recent events weighing
    more. p_<event type>: the probability that the next event is of this type. friends: those with
    the most similar items, weighted by the friendship. last_event: the newest one, with its time in
    unix seconds.
    """
    probabilities = [(f"p_{name}", pa.float32()) for name in event_types]
    return pa.schema(
        [
            ("user_id", pa.string()),
            ("vector", pa.list_(pa.float32())),
            ("top_tags", _INTEREST),
            ("top_categories", _INTEREST),
            *probabilities,
            ("friends", _FRIEND),
            ("last_event", _EVENT),
        ]
    )


def profile_users(
    engine: Engine, as_of: AsOf, users: Ids | None, options: ProfileOptions
) -> UserTables:
    """Portraits of users (ids, all where None) as of a time, in their order.

    A user without events has a vector of zeros, no interests and no last event.
    """
    check_types(options)
    if options.top < 1:
        raise UsageError(f"top is {options.top}: choose at least 1")
    named = users_or_histories(engine, as_of, users, options.histories)
    query = named.query
    portraits = _Portraits(engine, named, options.top)

    def rows_of(some: slice) -> Iterator[tuple[int, pa.Table]]:
        chosen = query.part(some)
        for begin in range(0, len(chosen), _USERS_AT_ONCE):
            part = chosen.part(slice(begin, begin + _USERS_AT_ONCE))
            yield len(part), portraits.table(part)

    return UserTables(len(query), portraits.columns, rows_of)


class _Portraits:
    """Makes the tables of the users of a task."""

    def __init__(self, engine: Engine, named: UserQuery, top: int):
        self._engine, self._top = engine, top
        self._user_names = arrow_strings(named.user_ids)
        self._friend_names = friend_names(engine.world, named.new_ids)
        self._item_names = arrow_strings(engine.world.items.ids)
        self._tags = Labels.tags(engine.world.items)
        self._categories = Labels.categories(engine.world.items)
        self.columns = schema(engine.world.event_types)

    def table(self, query: Query) -> pa.Table:
        """The portraits of a query's users."""
        states = self._engine.states(query)
        probabilities = self._engine.next_actions(states, query)
        columns = [
            self._user_names.take(pa.array(query.users)),
            _vectors(states),
            self._interests(query, self._tags),
            self._interests(query, self._categories),
            *(pa.array(column) for column in probabilities.T),
            self._friends(query),
            self._last_events(query),
        ]
        return typed_table(self.columns, columns)

    def _interests(self, query: Query, labels: Labels) -> pa.Array:
        owners, items, weights = _weighted_events(query)
        places, numbers = labels.expanded(items)

        # The weights of all events of a user with one label are added up.
        keys, entry = np.unique(owners[places] * len(labels.names) + numbers, return_inverse=True)
        shares = np.bincount(entry, weights[places], len(keys))
        users, label = np.divmod(keys, max(len(labels.names), 1))
        best = best_rows(users, [shares], self._top)
        names = pa.array(labels.names[label[best]].tolist(), pa.string())
        fields = {"name": names, "share": pa.array(shares[best].astype(np.float32))}
        return list_column(users[best], len(query), fields)

    def _friends(self, query: Query) -> pa.Array:
        if query.friend_sampler is None:
            return pa.nulls(len(query), _FRIEND).fill_null([])
        known = _KnownFriends.of(query, query.friend_sampler, self._engine.world.num_items)
        strength = known.weights * known.similarity
        # Friends who share no item all have strength 0: the weight alone orders them.
        best = best_rows(known.owners, [strength, known.weights], self._top)
        fields = {
            "user_id": self._friend_names.take(pa.array(known.friends[best])),
            "shared_items": pa.array(known.shared_items[best].astype(np.int32)),
            "similarity": pa.array(known.similarity[best].astype(np.float32)),
        }
        return list_column(known.owners[best], len(query), fields)

    def _last_events(self, query: Query) -> pa.Array:
        events = query.events
        has_event = query.history_ends > events.offsets[query.users]
        # A user without events reads some other event, which the mask hides.
        rows = np.where(has_event, query.history_ends - 1, 0)
        if not has_event.any():
            return pa.nulls(len(query), _EVENT)
        types = pa.array(self._engine.world.event_types).take(pa.array(events.types[rows]))
        items = self._item_names.take(pa.array(events.items[rows]))
        columns = [items.cast(pa.string()), types, pa.array(events.times[rows])]
        return pa.StructArray.from_arrays(columns, fields=list(_EVENT), mask=pa.array(~has_event))


def _vectors(states: np.ndarray) -> pa.Array:
    num_users, width = states.shape
    offsets = pa.array(np.arange(num_users + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(states.reshape(-1)))


def _weighted_events(query: Query) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(query [n], item [n], weight [n]) of the newest events; the weights of a user sum up to 1."""
    starts, ends = query.events.offsets[query.users], query.history_ends
    lengths = np.minimum(ends - starts, _MAX_EVENTS)
    rows = ranges(ends - lengths, lengths)
    owners = np.repeat(np.arange(len(query)), lengths)
    ages = np.repeat(ends, lengths) - 1 - rows
    weights = 0.5 ** (ages / _HALF_LIFE)
    totals = np.bincount(owners, weights, len(query))
    return owners, query.events.items[rows], weights / totals[owners]


@dataclasses.dataclass(frozen=True)
class _KnownFriends:
    """The newest friendships of the users of a query, m in all, and what both have had."""

    owners: np.ndarray  # [m] the user of the query
    friends: np.ndarray  # [m] numbers of users
    weights: np.ndarray  # [m] of the friendship
    shared_items: np.ndarray  # [m] different items that both had
    similarity: np.ndarray  # [m] cosine between both sets of items

    @classmethod
    def of(cls, query: Query, sampler: FriendSampler, num_items: int) -> _KnownFriends:
        first, known = sampler.known_friends(query.users, query.query_times)
        counts = np.minimum(known, _MAX_FRIENDS)
        edges = ranges(first + known - counts, counts)
        owners = np.repeat(np.arange(len(query)), counts)
        friends, weights = sampler.friends_at(edges)

        items = _items_of_friends(sampler, friends, query.query_times[owners])
        shared, sizes = _shared_items(query, owners, items, num_items)

        # The cosine of two sets is their intersection over the root of both sizes.
        histories = query.events.histories(query.users, query.history_ends)
        own_sizes = histories.count_distinct(num_items)[owners]
        similarity = shared / np.sqrt(np.maximum(sizes * own_sizes, 1))
        return cls(owners, friends, weights, shared, similarity)


def _items_of_friends(
    sampler: FriendSampler, friends: np.ndarray, query_times: np.ndarray
) -> Pairs:
    """The items of the newest events of friends [m] before query times [m]."""
    starts, ends = sampler.visible_history(friends, query_times)
    lengths = np.minimum(ends - starts, _MAX_FRIEND_EVENTS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Pairs(offsets, sampler.events.items[ranges(ends - lengths, lengths)])


def _shared_items(
    query: Query, owners: np.ndarray, items: Pairs, num_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """(different items [m] that friends share with their users, different items [m] of friends).

    owners [m]: the user of each friend. items: what each friend had.
    """
    friend, item = items.distinct(num_items)
    by_user = Pairs(offsets_of(owners[friend], len(query)), item.astype(np.int32))
    histories = query.events.histories(query.users, query.history_ends)
    is_shared = positions(by_user, histories, num_items) >= 0
    shared = np.bincount(friend, is_shared, len(owners))
    return shared, np.bincount(friend, minlength=len(owners))
