"""A shop before and after some people and friendships came, as tables and as Worlds."""

from __future__ import annotations

import dataclasses
import hashlib

import jax
import numpy as np
import pyarrow as pa

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import ranges
from socialrec_jax.data.joined_columns import events_at
from socialrec_jax.data.prepare.merge import keep_events
from socialrec_jax.data.query import friend_sampler_of
from socialrec_jax.data.world import NO_TIME, Events, World
from socialrec_jax.inference.engine import Engine
from tests.worlds import leave_one_out, random_edges, with_friends

KNOWN, USERS = 54, 60  # users before and after
FRIEND_ALONE = 57  # came without events, as a friend alone
FIRST = 1_000_000

# An append numbers new users by the md5 of their ids.
NEW_IDS = sorted(
    (f"new {n}" for n in range(USERS - KNOWN)),
    key=lambda name: hashlib.md5(name.encode()).hexdigest(),
)


def before_and_after(engine: Engine) -> tuple[Engine, Engine]:
    """Engines with the parameters and counts of one of 60 users, before and after the last six
    came; new users have no trained row.
    """
    after = _after(engine.world)
    variables = jax.tree.map(np.asarray, engine.variables)
    variables["params"]["social"]["features"]["users"] = np.where(
        np.arange(USERS)[:, None] < KNOWN, variables["params"]["social"]["features"]["users"], 0
    )
    engine = dataclasses.replace(engine, variables=jax.tree.map(jax.numpy.asarray, variables))
    return _with_world(engine, _before(after)), _with_world(engine, after)


def _with_world(engine: Engine, world: World) -> Engine:
    sampler = friend_sampler_of(world, engine.config.seed)
    return dataclasses.replace(engine, world=world, friend_sampler=sampler)


def _after(world: World) -> World:
    """Everybody knows about ten others; one new user has no events."""
    events = keep_events(world.events, world.events.owners != FRIEND_ALONE)
    times = np.random.default_rng(5).integers(FIRST, FIRST + 30_000, 330)
    edges = random_edges(USERS, 330, since=0, seed=4)
    edges += [(KNOWN, friend, 1.5, 0) for friend in range(1, 30, 2)]
    both_ways = {}
    for (user, friend, weight, _), time in zip(edges, np.resize(times, len(edges)), strict=True):
        since = int(NO_TIME) if time % 5 == 0 else int(time)
        both_ways[user, friend] = both_ways[friend, user] = (np.float32(weight), since)
    pairs = [(*pair, float(weight), since) for pair, (weight, since) in both_ways.items()]
    ids = [*world.user_ids[:KNOWN], *NEW_IDS]
    world = dataclasses.replace(
        world, events=events, event_splits=leave_one_out(events), user_ids=Strings.of(ids)
    )
    return with_friends(world, pairs)


def _is_added(world: World) -> np.ndarray:
    """Which friendships are not known before: those of new users, and a few others."""
    friends = world.friends
    owners = np.repeat(np.arange(USERS), np.diff(friends.offsets))
    of_known = (owners + friends.ids) % 29 == 0
    return (owners >= KNOWN) | (friends.ids >= KNOWN) | of_known


def _before(world: World) -> World:
    events, friends = world.events, world.friends
    owners = np.repeat(np.arange(USERS), np.diff(friends.offsets))
    columns = (owners, friends.ids, friends.weights, friends.times)
    rows = zip(*(column[~_is_added(world)].tolist() for column in columns), strict=True)
    rows_of_known = np.arange(events.offsets[KNOWN])
    known = events_at(events, rows_of_known, events.offsets[: KNOWN + 1])
    smaller = dataclasses.replace(
        world,
        events=known,
        event_splits=leave_one_out(known),
        user_ids=Strings.of(world.user_ids[:KNOWN]),
        attributes={name: Strings.of(c[:KNOWN]) for name, c in world.attributes.items()},
    )
    return with_friends(smaller, rows)


def events_table(world: World, users: list[int]) -> pa.Table:
    """The events of users, the newest first."""
    events: Events = world.events
    lengths = events.offsets[np.add(users, 1)] - events.offsets[users]
    rows = ranges(events.offsets[users], lengths)[::-1]
    types = [world.event_types[number] for number in events.types[rows].tolist()]
    return pa.table(
        {
            "user": world.user_ids[events.owners[rows]],
            "item": world.items.ids[events.items[rows]],
            "timestamp": events.times[rows],
            "event_type": types,
        }
    )


def friends_table(world: World) -> pa.Table:
    """The friendships that came, each of them once; new users who have events stand in src."""
    friends = world.friends
    owners = np.repeat(np.arange(USERS), np.diff(friends.offsets))
    is_friend_alone = owners == FRIEND_ALONE
    is_listed = _is_added(world) & ~is_friend_alone
    is_listed &= (owners > friends.ids) | (friends.ids == FRIEND_ALONE)
    times = friends.times[is_listed]
    return pa.table(
        {
            "src": world.user_ids[owners[is_listed]],
            "dst": world.user_ids[friends.ids[is_listed]],
            "weight": friends.weights[is_listed],
            "timestamp": pa.array(times, mask=times == NO_TIME),
        }
    )
