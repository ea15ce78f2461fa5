"""Each ablation takes away what it says and nothing else."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from benchmarks.suites.quality import ARMS
from benchmarks.work import ablations
from socialrec_jax.data.text.tokenizer import product_texts
from socialrec_jax.data.world import World
from tests.worlds import random_edges, random_world, with_friends, with_texts

USERS, ITEMS = 60, 40


def edges_of(world: World) -> list[tuple[int, int, float, int]]:
    f = world.friends
    users = np.repeat(np.arange(world.num_users), np.diff(f.offsets))
    columns = (users, f.ids, f.weights, f.times)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.fixture(params=["both ends", "one end", "skewed"])
def social(tmp_path, request) -> World:
    """A World whose edges are stored from both ends, or from one; skewed: a few users have most of
    the friends.
    """
    edges = random_edges(USERS, 300, (1000, 2000))
    if request.param == "skewed":
        edges = [(u, f % 15, w, t) for u, f, w, t in edges if u > 30]
    if request.param != "one end":
        once = {(min(u, f), max(u, f)): (w, t) for u, f, w, t in edges}
        edges = [e for (u, f), wt in once.items() for e in ((u, f, *wt), (f, u, *wt))]
    return with_friends(random_world(tmp_path, USERS), edges)


@pytest.mark.parametrize("seed", range(3))
def test_random_friends_are_as_many_and_others(social, seed):
    changed = ablations.with_random_friends(social, seed)
    before, after = edges_of(social), edges_of(changed)
    for end in (0, 1):
        assert Counter(e[end] for e in after) == Counter(e[end] for e in before)
    pairs = [e[:2] for e in after]
    assert all(u != f for u, f in pairs), "nobody is their own friend"
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs), "sorted by user and friend"
    assert sorted(e[2:] for e in after) == sorted(e[2:] for e in before)

    def is_symmetric(edges) -> bool:
        return {(f, u, w, t) for u, f, w, t in edges} == set(edges)

    assert is_symmetric(after) == is_symmetric(before)
    assert len(set(pairs) & {e[:2] for e in before}) < 0.6 * len(pairs)
    assert edges_of(ablations.with_random_friends(social, seed)) == after
    assert edges_of(ablations.with_random_friends(social, seed + 1)) != after
    assert changed.events is social.events


@pytest.mark.parametrize(
    ("arm", "has_friends", "has_text"),
    [("no friends", False, True), ("no text", True, False), ("behavior only", False, False)],
)
def test_an_arm_without_friends_or_texts_has_none_and_keeps_the_rest(
    world, arm, has_friends, has_text
):
    world = with_friends(world, random_edges(USERS, 90, 1000))
    full = with_texts(world, titles=["red lamp"] * ITEMS, tags=["a|b"] * ITEMS)
    changed = ARMS[arm](full, 0)
    assert bool(edges_of(changed)) == has_friends
    assert len(changed.friends.offsets) == USERS + 1
    assert any(product_texts(changed.items)) == has_text
    assert changed.items.ids is full.items.ids
    assert changed.events is full.events


def test_the_first_arm_changes_nothing(world):
    assert ARMS["all"](world, 0) is world


def test_without_text_there_are_no_fixed_vectors(world):
    vectors = np.ones((ITEMS, 3), np.float32)
    world = dataclasses.replace(world, items=dataclasses.replace(world.items, vectors=vectors))
    assert ablations.without_text(world).items.vectors.shape == (ITEMS, 0)


def events_of(world: World, begin: int, end: int) -> list[tuple]:
    """(item, type, value) of the events of these rows."""
    columns = [getattr(world.events, name)[begin:end] for name in ("items", "types", "values")]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_without_order_the_same_events_stand_in_another_order(world):
    values = np.random.default_rng(0).random(len(world.events.items)).astype(np.float32)
    world = dataclasses.replace(world, events=dataclasses.replace(world.events, values=values))
    changed = ablations.without_order(world, 1)
    history_ends, stops = world.history_ends(BEFORE_VALIDATION), world.events.offsets[1:]
    for start, end, stop in zip(world.events.starts, history_ends, stops, strict=True):
        before, after = events_of(world, start, end), events_of(changed, start, end)
        assert Counter(after) == Counter(before)
        held_out = events_of(world, end, stop)
        assert events_of(changed, end, stop) == held_out, "what is held out stays"
    assert (changed.events.items != world.events.items).mean() > 0.3
    np.testing.assert_array_equal(changed.events.times, world.events.times)


def test_the_order_follows_from_the_seed(world):
    first, again, other = (ablations.without_order(world, seed).events.items for seed in (1, 1, 2))
    np.testing.assert_array_equal(again, first)
    assert (other != first).any()
