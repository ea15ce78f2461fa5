"""Worlds made in memory, so that a test depends on no reader of tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import NO_TIME, Events, Friends, Items, World
from socialrec_jax.data.world_files import SCHEMA_VERSION


def events_of(sequences: list[list[int]], first_time: int = 1_000_000, gap: int = 3600) -> Events:
    """Events with the given items, one list a user, `gap` seconds apart."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.array([item for sequence in sequences for item in sequence], np.int32)
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return Events(
        offsets=offsets,
        items=items,
        times=first_time + places * gap,
        types=(items % 2).astype(np.uint8),
        values=np.ones(len(items), np.float32),
    )


def leave_one_out(events: Events) -> np.ndarray:
    splits = np.zeros(len(events.items), np.uint8)
    long_enough = np.diff(events.offsets) >= 3
    splits[events.offsets[1:][long_enough] - 1] = 2
    splits[events.offsets[1:][long_enough] - 2] = 1
    return splits


def world_of(path: Path, events: Events, num_items: int) -> World:
    """A World without friends or text around the events."""
    users = events.num_users
    blank = Strings.of([""] * num_items)
    items = Items(
        ids=Strings.of([f"item{i}" for i in range(num_items)]),
        titles=blank,
        descriptions=blank,
        tags=blank,
        categories=blank,
        prices=np.full(num_items, np.nan, np.float32),
        available=np.ones(num_items, bool),
        vectors=np.zeros((num_items, 0), np.float32),
    )
    nobody = np.zeros(0, np.int32)
    return World(
        path=path,
        manifest={
            "schema_version": SCHEMA_VERSION,
            "event_types": ["view", "buy"],
            "time_min": int(events.times.min()),
            "split": "leave-one-out",
            "hash": "test",
        },
        user_ids=Strings.of([f"user{u}" for u in range(users)]),
        events=events,
        event_splits=leave_one_out(events),
        friends=Friends(
            np.zeros(users + 1, np.int64),
            nobody,
            nobody.astype(np.float32),
            nobody + np.int64(NO_TIME),
        ),
        items=items,
    )


def with_friends(world: World, edges: Iterable[tuple[int, int, float, int]]) -> World:
    """The World where each edge (user, friend, weight, since) lets the user know what the friend
    does.
    """
    edges = sorted(edges)
    counts = np.bincount([user for user, *_ in edges], minlength=world.num_users)
    friends = Friends(
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        ids=np.array([friend for _, friend, _, _ in edges], np.int32),
        weights=np.array([weight for *_, weight, _ in edges], np.float32),
        times=np.array([since for *_, since in edges], np.int64),
    )
    return dataclasses.replace(world, friends=friends)


def random_edges(
    num_users: int, num_edges: int, since: int | tuple[int, int], seed: int = 0
) -> list:
    """Different directed, weighted edges; since: the time of all, or a range of times."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(num_users * num_users, num_edges, replace=False)
    times = np.full(num_edges, since) if isinstance(since, int) else rng.integers(*since, num_edges)
    weights = rng.uniform(0.5, 2.0, num_edges)
    both = zip(pairs, weights, times, strict=True)
    return [
        (int(p // num_users), int(p % num_users), float(w), int(t))
        for p, w, t in both
        if p // num_users != p % num_users
    ]


def random_world(path: Path, num_users: int = 60, num_items: int = 40, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    sequences = [list(rng.permutation(num_items)[: rng.integers(1, 12)]) for _ in range(num_users)]
    return world_of(path, events_of(sequences), num_items)


def cyclic_world(
    path: Path, num_users: int = 200, num_items: int = 24, length: int = 8, seed: int = 0
) -> World:
    """Each user walks the catalogue with a stride of 1 or 5: only the last two events together tell
    the next.
    """
    rng = np.random.default_rng(seed)
    starts, strides = rng.integers(0, num_items, num_users), rng.choice([1, 5], num_users)
    sequences = [
        [int((a + n * d) % num_items) for n in range(length)]
        for a, d in zip(starts, strides, strict=True)
    ]
    return world_of(path, events_of(sequences), num_items)


def copying_world(
    path: Path, num_pairs: int = 300, num_items: int = 30, length: int = 6, seed: int = 0
) -> World:
    """Leaders do anything; the follower's next item is what the leader did last before the
    follower's last event.

    Users 0.. lead, users num_pairs.. follow. Leaders go on after their followers, so what is held
    out of a leader is nothing that a follower copied.
    """
    rng = np.random.default_rng(seed)
    leads = np.stack([rng.permutation(num_items)[: length + 3] for _ in range(num_pairs)])
    follows = np.stack(
        [
            np.append(rng.choice(np.setdiff1d(np.arange(num_items), lead)), lead[: length - 1])
            for lead in leads
        ]
    )
    events = events_of([*leads.tolist(), *follows.tolist()])
    followers = events.owners >= num_pairs
    events = dataclasses.replace(events, times=events.times + np.where(followers, 1800, 0))
    edges = [(num_pairs + pair, pair, 1.0, int(NO_TIME)) for pair in range(num_pairs)]
    return with_friends(world_of(path, events, num_items), edges)


def with_texts(world: World, **columns: list[str]) -> World:
    """The World whose products have these titles, descriptions, tags or categories."""
    texts = {name: Strings.of(column) for name, column in columns.items()}
    return dataclasses.replace(world, items=dataclasses.replace(world.items, **texts))
