"""A tree holds what was known of a user's friends at the query time, with normalised weights."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.batching.social_positions import SocialPositions
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.counter_rng import uniform
from socialrec_jax.data.csr import first_at_or_after
from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION, NO_TIME, NOW
from tests.worlds import events_of, random_edges, random_world, with_friends, world_of

FIRST = 1_000_000
ALWAYS = int(NO_TIME)


@pytest.fixture
def social(tmp_path):
    """60 users with friends of some time within the events' span."""
    world = random_world(tmp_path)
    return with_friends(world, random_edges(60, 400, (FIRST - 10_000, FIRST + 40_000)))


def known_before(world, user: int, time: int) -> dict[int, float]:
    """The naive answer: friends and their weights."""
    rows = range(*world.friends.offsets[user : user + 2])
    return {
        int(world.friends.ids[r]): float(world.friends.weights[r])
        for r in rows
        if world.friends.times[r] < time
    }


def test_bisection_is_searchsorted_of_each_slice():
    rng = np.random.default_rng(0)
    times = np.concatenate([np.sort(rng.integers(0, 20, n)) for n in (0, 5, 1, 30, 0)])
    offsets = np.array([0, 0, 5, 6, 36, 36])
    users, query_times = rng.integers(0, 5, (2, 100)), rng.integers(-2, 23, (2, 100))
    found = first_at_or_after(times, offsets[users], offsets[users + 1], query_times)
    slices = [times[offsets[u] : offsets[u + 1]] for u in users.flat]
    naive = [np.searchsorted(part, m) for part, m in zip(slices, query_times.flat, strict=True)]
    np.testing.assert_array_equal(found.ravel() - offsets[users].ravel(), naive)


def test_a_tree_holds_the_friends_before_the_query_time_and_their_normalised_weights(social):
    sampler = FriendSampler(social.events, social.friends, social.history_ends(), fan_out=(30, 30))
    query_times = np.full(60, FIRST + 15_000)
    trees = sampler.sample(np.arange(60), query_times)
    for user in range(60):
        friends = known_before(social, user, query_times[0])
        near = trees.users[user, 1:31]
        assert sorted(near[near >= 0]) == sorted(friends)
        for i, friend in enumerate(near[near >= 0]):
            others = known_before(social, friend, query_times[0])
            degrees = sum(friends.values()) * max(sum(others.values()), friends[friend])
            assert trees.edges[user, i] == pytest.approx(friends[friend] / degrees**0.5, rel=1e-5)
            far = trees.users[user, 31 + 30 * i : 61 + 30 * i]
            assert sorted(far[far >= 0]) == sorted(others)
    assert ((trees.users[:, 1:] >= 0) == (trees.edges > 0)).all()


def test_recent_items_are_the_last_before_the_query_time_and_before_the_ends(social):
    sampler = FriendSampler(
        social.events, social.friends, social.history_ends(BEFORE_VALIDATION), recent=3
    )
    time = FIRST + 4 * 3600
    trees = sampler.sample(np.arange(60), np.full(60, time))
    history_ends = social.history_ends(BEFORE_VALIDATION)
    for user, exists, items, ages in zip(
        trees.users.flat,
        *(leaf.reshape(-1, 3) for leaf in (trees.exists, trees.items, trees.ages)),
        strict=True,
    ):
        if user < 0:
            assert not exists.any()
            continue
        rows = [
            r
            for r in range(social.events.offsets[user], history_ends[user])
            if social.events.times[r] < time
        ][-3:][::-1]
        assert items[exists].tolist() == social.events.items[rows].tolist()
        assert ages[exists].tolist() == (time - social.events.times[rows]).tolist()


def test_too_many_friends_are_sampled_uniformly_and_once(tmp_path):
    world = with_friends(random_world(tmp_path), [(0, f, 1.0, ALWAYS) for f in range(1, 38)])
    sampler = FriendSampler(world.events, world.friends, world.history_ends(), fan_out=(10, 5))
    seen = np.zeros(60)
    for salt in range(400):
        trees = sampler.sample(np.array([0]), np.array([2 * FIRST]), salt)
        friends = trees.users[0, 1:11]
        assert len(set(friends)) == 10
        seen[friends] += 1
        # Friends have no friends themselves: P = 1 / sqrt(37 * 1), and ten stand for 37.
        np.testing.assert_allclose(trees.edges[0, :10], 37**-0.5 * 3.7, rtol=1e-5)
    assert np.abs(seen[1:38] / 400 - 10 / 37).max() < 0.08


def test_a_tree_depends_on_its_own_query_alone(social):
    sampler = FriendSampler(social.events, social.friends, social.history_ends(), fan_out=(3, 2))
    users, query_times = np.array([[3, 7], [-1, 9]]), FIRST + np.array([[5000, 9000], [1, 40_000]])
    together = sampler.sample(users, query_times, salt=5)
    for place in np.ndindex(2, 2):
        alone = sampler.sample(users[place][None], query_times[place][None], salt=5)
        mine = jax.tree.map(lambda leaf, place=place: leaf[place][None], together)
        jax.tree.map(np.testing.assert_array_equal, mine, alone)
    assert not np.array_equal(together.users, sampler.sample(users, query_times, salt=6).users)
    assert (together.users[1, 0] == -1).all()


def test_random_numbers_are_uniform_and_differ_by_every_key():
    numbers = uniform(1, np.arange(100)[:, None], np.arange(100))
    assert np.histogram(numbers, 10, (0, 1))[0].std() < 60
    assert (
        len(
            np.unique(
                np.concatenate([numbers, uniform(2, np.arange(100)[:, None], np.arange(100))])
            )
        )
        == 20_000
    )


def batches_with_friends(world, at_request=False, rows=4):
    sampler = FriendSampler(
        world.events, world.friends, world.history_ends(BEFORE_VALIDATION), fan_out=(3, 2)
    )
    social_positions = SocialPositions(sampler, 2, at_request)
    return TrainingBatches(
        world.events,
        world.history_ends(BEFORE_VALIDATION),
        world.first_time,
        8,
        rows,
        0,
        social_positions,
    )


@pytest.mark.parametrize("at_request", [False, True])
def test_training_queries_at_the_time_of_the_event_or_of_the_request(social, at_request):
    batches = batches_with_friends(social, at_request)
    for step in range(3):
        batch = batches.at(step)
        assert all(len(set(row)) == 2 for row in batch.social_positions)
        real = np.take_along_axis(batch.segments, batch.social_positions, 1) > 0
        times = batch.request_times if at_request else batch.times
        query_times = np.take_along_axis(times, batch.social_positions, 1) + FIRST
        owners = social.events.owners[batches.indices(step).sources]
        users = np.take_along_axis(owners, batch.social_positions, 1)
        np.testing.assert_array_equal(batch.friends.users[..., 0], np.where(real, users, -1))
        sampler = batches.social_positions.friend_sampler
        expected = sampler.sample(batch.friends.users[..., 0], query_times, salt=step)
        jax.tree.map(np.testing.assert_array_equal, batch.friends, expected)


def test_processes_share_the_friends_too(social):
    whole = batches_with_friends(social).at(1)
    parts = [batches_with_friends(social).at(1, process, 2) for process in range(2)]
    jax.tree.map(lambda a, *b: np.testing.assert_array_equal(a, np.concatenate(b)), whole, *parts)


def test_query_times_of_each_protocol(tmp_path):
    world = world_of(tmp_path, events_of([[1, 2, 3, 4], [1, 2], [5, 6, 7, 8, 9], []]), 10)
    assert (world.query_times(AsOf.time(FIRST + 7)) == FIRST + 7).all()
    assert (world.query_times(NOW) == world.events.times.max() + 1).all()
    np.testing.assert_array_equal(
        world.query_times(BEFORE_TEST)[:3], FIRST + 3600 * np.array([2, 1, 3])
    )
    np.testing.assert_array_equal(
        world.query_times(BEFORE_VALIDATION)[:3], FIRST + 3600 * np.array([1, 1, 2])
    )
    world.manifest["split"] = "time"
    assert (world.query_times(BEFORE_TEST) == FIRST + 3 * 3600).all(), "the earliest test event"
