"""Batches are a pure function of (seed, step), cover every target once an epoch, and split exactly
over processes.
"""

import jax
import numpy as np
import pytest

from socialrec_jax.data.batching.layout import model_times
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.world import BEFORE_VALIDATION
from tests.worlds import events_of


def batches_of(world, row_length=8, rows=4, seed=0):
    return TrainingBatches(
        world.events,
        world.history_ends(BEFORE_VALIDATION),
        world.first_time,
        row_length,
        rows,
        seed,
    )


def test_an_epoch_learns_every_training_event_but_each_users_first_exactly_once(world):
    batches = batches_of(world)
    learnt = []
    for step in range(batches.steps_per_epoch):
        batch = batches.at(step)
        batch.check()
        users = world.events.owners[batches.indices(step).sources]
        on = batch.weights > 0
        learnt += list(
            zip(
                users[on],
                batch.items[on],
                batch.targets[on],
                batch.target_types[on],
                strict=True,
            )
        )
    expected = []
    for user, (start, end) in enumerate(
        zip(world.events.starts, world.history_ends(BEFORE_VALIDATION), strict=True)
    ):
        rows = range(start + 1, end)
        expected += [
            (user, *world.events.items[r - 1 : r + 1], world.events.types[r]) for r in rows
        ]
    assert sorted(learnt) == sorted(expected)


def test_the_same_step_is_the_same_batch_whatever_came_before(world):
    walked, fresh = batches_of(world), batches_of(world)
    for step in range(12):
        walked.at(step)
    jax.tree.map(np.testing.assert_array_equal, walked.at(5), fresh.at(5))


def test_the_epochs_of_others_do_not_push_a_layout_out(world):
    batches, others = batches_of(world), batches_of(world, seed=1)
    layout = batches._layout(0)
    for epoch in range(3):
        others._layout(epoch)
    assert batches._layout(0) is layout


def test_epochs_and_seeds_mix_anew(world):
    batches = batches_of(world)
    assert not np.array_equal(batches.at(0).items, batches.at(batches.steps_per_epoch).items)
    assert not np.array_equal(batches.at(0).items, batches_of(world, seed=1).at(0).items)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_rows_exactly(world, processes):
    batches = batches_of(world)
    parts = [batches.at(3, process, processes) for process in range(processes)]
    jax.tree.map(
        lambda whole, *part: np.testing.assert_array_equal(whole, np.concatenate(part)),
        batches.at(3),
        *parts,
    )


def test_windows_of_a_long_history_are_contiguous_and_number_the_same_every_epoch():
    events = events_of([list(range(50))])
    batches = TrainingBatches(events, events.offsets[1:], 0, 8, 1, 0)
    assert batches.targets_per_epoch == 49
    seen_starts = set()
    for epoch in range(20):
        starts = []
        for step in range(batches.steps_per_epoch):
            batch = batches.at(epoch * batches.steps_per_epoch + step)
            on = batch.segments > 0
            assert (np.diff(batch.items[on]) == 1).all()
            starts.append(int(batch.items[on][0]))
        seen_starts |= set(starts)
        assert len(starts) == 7
    assert len(seen_starts) > 7, "the short window wanders"


def test_times_survive_int32():
    assert model_times(np.array([2**40, 100, -(2**40)]), 40).tolist() == [2**31 - 1, 60, -(2**31)]


def test_batch_check_names_the_field_that_is_off(world):
    batch = batches_of(world).at(0)
    with pytest.raises(ValueError, match="targets"):
        batch.replace(targets=batch.targets[:, :-1]).check()
    with pytest.raises(ValueError, match="padding"):
        batch.replace(segments=np.zeros_like(batch.segments)).check()
