"""Targets are the user's new items, history is what precedes them, all scorers are ranked alike."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.data.world import TEST, VALIDATION
from socialrec_jax.evaluation import protocol, segments
from socialrec_jax.evaluation.sparse_scores import PopularList
from tests.evaluation.dense import evaluate_dense
from tests.worlds import events_of, random_world, world_of


def test_leave_one_out_holds_out_the_last_and_sees_all_before(world):
    queries = protocol.held_out(world, TEST)
    lengths = np.diff(world.events.offsets)
    np.testing.assert_array_equal(queries.users, np.flatnonzero(lengths >= 3))
    for q, user in enumerate(queries.users):
        history = world.events.items[world.events.offsets[user] : world.events.offsets[user + 1]]
        assert queries.targets.items[q] == history[-1]
        np.testing.assert_array_equal(
            queries.seen.items[slice(*queries.seen.offsets[q : q + 2])], history[:-1]
        )


def test_a_part_is_found_once(world):
    queries = protocol.held_out(world, TEST)
    assert protocol.held_out(world, TEST) is queries
    assert protocol.held_out(world, TEST, focus=[0]) is not queries
    other = dataclasses.replace(world)
    assert protocol.held_out(other, TEST) is not queries, "another World has its own"


def test_targets_in_the_history_are_dropped_and_counted(tmp_path):
    world = world_of(tmp_path, events_of([[1, 2, 3, 2], [1, 2, 3, 4]]), 5)
    queries = protocol.held_out(world, TEST)
    assert queries.users.tolist() == [1]
    assert queries.dropped == 1


def test_a_window_with_several_events_has_several_distinct_targets(tmp_path):
    world = world_of(tmp_path, events_of([[0, 1, 5, 6, 5, 1], [0, 7]]), 8)
    world = dataclasses.replace(world, event_splits=np.array([0, 0, 2, 2, 2, 2, 0, 1], np.uint8))
    queries = protocol.held_out(world, TEST)
    assert queries.targets.items.tolist() == [5, 6]
    assert queries.dropped == 2
    assert protocol.held_out(world, VALIDATION).targets.items.tolist() == [7]


def test_a_user_without_history_is_evaluated_too(tmp_path):
    world = world_of(tmp_path, events_of([[3, 4], [1, 2]]), 5)
    world = dataclasses.replace(world, event_splits=np.array([2, 2, 0, 2], np.uint8))
    queries = protocol.held_out(world, TEST)
    assert queries.users.tolist() == [0, 1]
    assert np.diff(queries.seen.offsets).tolist() == [0, 1]


def test_dense_scores_and_popularity_are_ranked_alike(world):
    popularity = np.random.default_rng(0).random(world.num_items).astype(np.float32)
    queries = protocol.held_out(world, TEST)
    alike = PopularList.of(popularity).evaluate(queries)
    scored = evaluate_dense(np.tile(popularity, (len(queries), 1)), queries)
    np.testing.assert_array_equal(alike.ranks, scored.ranks)
    assert alike.metrics == scored.metrics


def test_ranks_are_those_of_the_naive_definition(world):
    scores = (
        np.random.default_rng(1)
        .integers(0, 9, (world.num_users, world.num_items))
        .astype(np.float32)
    )
    queries = protocol.held_out(world, TEST)
    evaluated = evaluate_dense(scores[queries.users], queries)
    for q, (user, target) in enumerate(zip(queries.users, queries.targets.items, strict=True)):
        seen = set(queries.seen.items[slice(*queries.seen.offsets[q : q + 2])].tolist())
        others = [i for i in range(world.num_items) if i != target and i not in seen]
        assert evaluated.ranks[q] == 1 + sum(
            scores[user, i] >= scores[user, target] for i in others
        )


def test_a_sample_is_a_part(world):
    queries = protocol.held_out(world, TEST)
    part = queries.sample(10, seed=0)
    assert len(part) == 10
    at = np.searchsorted(queries.users, part.users)
    np.testing.assert_array_equal(part.targets.items, queries.targets.items[at])
    assert queries.sample(10_000, seed=0) is queries


def test_a_sample_of_users_is_nested_and_says_its_share(world):
    queries = protocol.held_out(world, TEST)
    small, large = (queries.sample_of_users(size, seed=3) for size in (10, 20))
    assert len(small) == 10
    assert small.share_of_users == 10 / len(queries)
    assert set(small.users) < set(large.users)
    np.testing.assert_array_equal(large.sample_of_users(10, seed=3).users, small.users)
    at = np.searchsorted(queries.users, small.users)
    np.testing.assert_array_equal(small.targets.items, queries.targets.items[at])


def test_a_sample_of_users_does_not_depend_on_the_others(world):
    users = np.arange(1000)
    chosen = users[protocol.sampled_users(users, 100, seed=1)]
    fewer = np.union1d(chosen, users[::3])
    np.testing.assert_array_equal(fewer[protocol.sampled_users(fewer, 100, seed=1)], chosen)
    others = users[protocol.sampled_users(users, 100, seed=2)]
    assert len(np.intersect1d(chosen, others)) < 50


def test_as_many_users_as_there_are_is_no_sample(world):
    queries = protocol.held_out(world, TEST)
    assert queries.sample_of_users(len(queries), seed=0) is queries
    assert queries.share_of_users == 1


def test_segments_part_the_queries(tmp_path):
    world = random_world(tmp_path, num_users=80)
    queries = protocol.held_out(world, TEST)
    masks = segments.segments(world, queries)
    for pair in (("warm items", "cold items"), ("short histories", "long histories")):
        assert sum(masks[name].sum() for name in pair if name in masks) == len(queries)
    assert masks["strictly later"].all()
    assert "no friends" not in masks, "a World without friends has no such segments"
    evaluated = PopularList.of(np.arange(40, dtype=np.float32)).evaluate(queries)
    shown = segments.by_segment(evaluated, masks)
    whole = sum(
        shown[name]["n"] * shown[name]["hr@10"] for name in ("short histories", "long histories")
    )
    assert whole / len(queries) == pytest.approx(evaluated.metrics["hr@10"])
