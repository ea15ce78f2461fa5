"""The regression on counts learns from visible events only, and is the same when loaded."""

import numpy as np
import pytest

from socialrec_jax.data.features.next_type import NextTypeRegression
from socialrec_jax.data.world import Events
from tests.worlds import events_of


@pytest.fixture(scope="module")
def habits() -> Events:
    """Users of two kinds: the even ones only view, the odd ones view and buy in turn."""
    types = [[0] * 8 if user % 2 == 0 else [0, 1] * 4 for user in range(40)]
    return events_of(types)


def test_habits_are_learnt(habits):
    regression = NextTypeRegression.fit(habits, habits.offsets[1:], 2)
    probabilities = regression.probabilities(habits, np.arange(40), habits.offsets[1:])
    assert (probabilities[::2, 0] > 0.95).all()
    last_was_a_purchase = probabilities[1::2]
    assert (last_was_a_purchase[:, 0] > 0.9).all()
    earlier = regression.probabilities(habits, np.arange(40), habits.offsets[1:] - 1)
    assert (earlier[1::2, 1] > 0.7).all()


def test_probabilities_sum_to_one_even_without_history(habits):
    regression = NextTypeRegression.fit(habits, habits.offsets[1:], 2)
    probabilities = regression.probabilities(habits, np.arange(40), habits.starts)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(1), 1)


def test_the_future_changes_nothing(habits):
    history_ends = habits.starts + 4
    before = NextTypeRegression.fit(habits, history_ends, 2).probabilities(
        habits, np.arange(40), history_ends
    )
    later = np.arange(len(habits.items)) >= history_ends[habits.owners]
    changed = Events(
        habits.offsets,
        habits.items,
        habits.times,
        np.where(later, 1 - habits.types, habits.types),
        habits.values,
    )
    after = NextTypeRegression.fit(changed, history_ends, 2).probabilities(
        changed, np.arange(40), history_ends
    )
    np.testing.assert_array_equal(before, after)


def test_without_examples_all_types_are_equally_likely(habits):
    regression = NextTypeRegression.fit(habits, habits.starts, 2)
    np.testing.assert_array_equal(
        regression.probabilities(habits, np.arange(3), habits.offsets[1:4]), 0.5
    )


def test_a_saved_regression_is_the_same_when_loaded(habits, tmp_path):
    regression = NextTypeRegression.fit(habits, habits.offsets[1:], 2)
    regression.save(tmp_path / "actions.npz")
    again = NextTypeRegression.load(tmp_path / "actions.npz")
    query = (habits, np.arange(40), habits.offsets[1:])
    np.testing.assert_array_equal(again.probabilities(*query), regression.probabilities(*query))
