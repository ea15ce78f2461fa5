"""Which events of a grown World are new, and how they are parted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.data.batching.replay import ReplaySettings, update_starts
from socialrec_jax.data.growth import Growth
from socialrec_jax.data.prepare import merge
from socialrec_jax.data.world import Events
from tests.worlds import events_of, random_world, world_of

NO_REPLAY = ReplaySettings(per_new_event=0, half_life=1.0, row_length=4, seed=0)


def grown(tmp_path, seed: int = 0):
    """A World, the same with random events of old and new users added, and these events' items.

    Added events have items 40.. and share seconds with known ones.
    """
    known = random_world(tmp_path / "known", seed=seed)
    rng = np.random.default_rng(seed)
    added = events_of([rng.integers(40, 50, rng.integers(0, 4)).tolist() for _ in range(70)])
    events = merge.merge_events(known.events, added)
    return known, world_of(tmp_path / "grown", events, 50)


@pytest.mark.parametrize("seed", range(3))
def test_new_events_are_found_among_known_ones_of_the_same_second(tmp_path, seed):
    known, world = grown(tmp_path, seed)
    growth = Growth.between(known, world)
    np.testing.assert_array_equal(growth.rows, np.flatnonzero(world.events.items >= 40))


def test_histories_before_the_new_events_have_none_of_them(tmp_path):
    known, world = grown(tmp_path)
    growth = Growth.between(known, world)
    visible = world.events.visible(growth.history_ends_before(world.events))
    assert not visible[growth.rows].any()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_about_the_share_is_held_out_and_it_is_the_newest_part(tmp_path, share):
    known, world = grown(tmp_path)
    events, growth = world.events, Growth.between(known, world)
    learnt = events.visible(growth.training_ends(events, share, seed=0))[growth.rows]
    assert abs((~learnt).mean() - share) < 0.1
    times = events.times[growth.rows]
    assert times[learnt].max() <= times[~learnt].min()


def test_events_of_one_second_are_held_out_by_user():
    events = dataclasses.replace(events_of([[1, 2]] * 200), times=np.full(400, 5))
    growth = Growth(np.arange(400), 200, 40)
    ends = growth.training_ends(events, 0.25, seed=0)
    assert set(ends - events.starts) == {0, 2}
    assert abs((ends > events.starts).mean() - 0.75) < 0.1


def learnt(events: Events, new_rows: np.ndarray, settings: ReplaySettings) -> list[int]:
    """How many events of each user are learnt, the first input among them."""
    ends = events.offsets[1:]
    return (ends - update_starts(events, ends, new_rows, settings)).tolist()


def test_an_update_learns_new_events_in_their_context_and_replays_others():
    events = events_of([list(range(10)), [1, 2, 3], [4, 5, 6], [7]])
    new_rows = np.array([8, 9])  # of the first user
    assert learnt(events, new_rows, NO_REPLAY) == [6, 0, 0, 0]
    some = dataclasses.replace(NO_REPLAY, per_new_event=2)
    first, *others, single = learnt(events, new_rows, some)
    assert (first, sorted(others), single) == (6, [0, 3], 0)
    every = dataclasses.replace(NO_REPLAY, per_new_event=100)
    assert learnt(events, new_rows, every) == [6, 3, 3, 0]


def test_recent_histories_are_replayed_more_often():
    events = events_of([[1, 2]] * 400)
    times = events.times + np.repeat(np.arange(400), 2) * 86_400
    events = dataclasses.replace(events, times=times)
    settings = ReplaySettings(per_new_event=100, half_life=0.1, row_length=4, seed=0)
    lengths = np.array(learnt(events, np.array([799]), settings))[:-1]
    assert (lengths[200:] > 0).sum() > 3 * (lengths[:200] > 0).sum()
