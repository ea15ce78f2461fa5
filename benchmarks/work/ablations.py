"""Worlds without one of their sources: ablations change the World, not the code."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import TEST, TRAIN, VALIDATION, Events, Friends, World

_SHUFFLES = 200  # at most
_EVENT_COLUMNS = ("items", "times", "types", "values")
_TEXT_COLUMNS = ("titles", "descriptions", "tags", "categories")


def without_friends(world: World) -> World:
    """Nobody has a friend."""
    friends = world.friends
    none = Friends(
        offsets=np.zeros_like(friends.offsets),
        ids=friends.ids[:0],
        weights=friends.weights[:0],
        times=friends.times[:0],
    )
    return dataclasses.replace(world, friends=none)


def with_random_friends(world: World, seed: int) -> World:
    """Everybody has as many friends as before, but others: the edges' second ends are shuffled.

    A graph that stores each edge from both ends stays so.
    """
    friends = world.friends
    rng = np.random.default_rng(seed)
    # The user of each edge [E], in CSR order.
    users = np.repeat(np.arange(world.num_users), np.diff(friends.offsets))
    if _is_symmetric(users, friends.ids):
        # One direction is shuffled, and the other one follows it.
        once = np.flatnonzero(users < friends.ids)
        src = users[once]
        dst = _shuffled_ends(src, friends.ids[once], directed=False, rng=rng)
        forward, backward = [src, dst], [dst, src]
        src, dst = np.concatenate(forward), np.concatenate(backward)
        # Both directions of an edge keep its weight and time.
        sources = np.concatenate([once, once])
    else:
        src, sources = users, np.arange(len(users))
        dst = _shuffled_ends(src, friends.ids, directed=True, rng=rng)
    return dataclasses.replace(world, friends=_friends_of(world, src, dst, sources))


def _friends_of(world: World, src: np.ndarray, dst: np.ndarray, sources: np.ndarray) -> Friends:
    """Edges sorted by user and friend; sources: the old edges whose weights and times they take."""
    # A World keeps the friends of each user sorted.
    order = np.lexsort((dst, src))
    counts = np.bincount(src, minlength=world.num_users)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    sources = sources[order]
    weights, times = world.friends.weights[sources], world.friends.times[sources]
    return Friends(offsets, dst[order].astype(np.int32), weights, times)


def _is_symmetric(users: np.ndarray, ids: np.ndarray) -> bool:
    """Whether every edge is stored from both ends."""
    # The edges in their own order, and with both ends exchanged.
    forward = np.lexsort((ids, users))
    backward = np.lexsort((users, ids))
    same_users = np.array_equal(users[forward], ids[backward])
    same_ids = np.array_equal(ids[forward], users[backward])
    return same_users and same_ids


def _shuffled_ends(
    src: np.ndarray, dst: np.ndarray, directed: bool, rng: np.random.Generator
) -> np.ndarray:
    """dst in a random order without self loops, and without repeated edges if that is possible."""
    # 64 bits, so that two ends fit one key.
    src = src.astype(np.int64)
    dst = rng.permutation(dst).astype(np.int64)
    for _ in range(_SHUFFLES):
        wrong = np.flatnonzero((src == dst) | _is_repeated(src, dst, directed))
        if not len(wrong):
            break
        # Each wrong edge exchanges its second end with a random other one.
        others = rng.integers(0, len(dst), len(wrong))
        for here, there in zip(wrong, others, strict=True):
            dst[[here, there]] = dst[[there, here]]
    return dst


def _is_repeated(src: np.ndarray, dst: np.ndarray, directed: bool) -> np.ndarray:
    """Whether an earlier edge has the same ends [E]."""
    low, high = src, dst
    # Without directions, an edge and its reverse are the same.
    if not directed:
        low, high = np.minimum(src, dst), np.maximum(src, dst)
    # One number for each pair of ends.
    keys = low * (1 << 32) + high
    _, first_places = np.unique(keys, return_index=True)
    repeated = np.ones(len(src), bool)
    repeated[first_places] = False
    return repeated


def without_text(world: World) -> World:
    """Items have ids alone: no texts, no tags, no fixed vectors."""
    empty = Strings.of([""] * world.num_items)
    texts = dict.fromkeys(_TEXT_COLUMNS, empty)
    # [V, 0]
    vectors = np.zeros((world.num_items, 0), np.float32)
    items = dataclasses.replace(world.items, vectors=vectors, **texts)
    return dataclasses.replace(world, items=items)


def behavior_alone(world: World) -> World:
    """Without texts and without friends."""
    return without_text(without_friends(world))


def without_order(world: World, seed: int) -> World:
    """Each user's training events are shuffled; which events they are stays."""
    rng = np.random.default_rng(seed)
    users, rows = world.events.owners, np.arange(len(world.events.items))
    in_training = rows < world.history_ends(BEFORE_VALIDATION)[users]
    # A random order within each user.
    order = np.lexsort((rng.random(in_training.sum()), users[in_training]))
    # Times stay where they are: else a history would not be sorted.
    columns = {}
    for name in ("items", "types", "values"):
        column = getattr(world.events, name).copy()
        column[in_training] = column[in_training][order]
        columns[name] = column
    return dataclasses.replace(world, events=dataclasses.replace(world.events, **columns))


def one_event_earlier(world: World) -> World:
    """Without the test part: validation becomes the test part, and each user's last training event
    becomes the validation part.
    """
    events, splits = world.events, world.event_splits
    # Whoever evaluates this World must not see the real test part.
    kept = splits < TEST
    # Of the events that are kept, in CSR form.
    offsets = np.concatenate([[0], np.cumsum(events.count_before(kept))])
    columns = {name: getattr(events, name)[kept] for name in _EVENT_COLUMNS}

    earlier = np.where(splits[kept] == VALIDATION, TEST, TRAIN).astype(splits.dtype)
    in_training = events.owners[kept][earlier == TRAIN]
    # Training events of each user.
    counts = np.bincount(in_training, minlength=world.num_users)
    # A user with one training event keeps it for training.
    last = (offsets[:-1] + counts - 1)[counts > 1]
    earlier[last] = VALIDATION
    return dataclasses.replace(world, events=Events(offsets, **columns), event_splits=earlier)
