"""The regression on counts learns from visible events only, and is the same when loaded."""

import numpy as np
import pytest

from socialrec_jax.data.features.next_type import NextTypeRegression
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events
from tests.worlds import events_of


@pytest.fixture(scope="module")
def habits() -> Events:
    """Users of two kinds: the even ones only view, the odd ones view and buy in turn."""
    types = [[0] * 8 if user % 2 == 0 else [0, 1] * 4 for user in range(40)]
    return events_of(types)


def query_of(events: Events, history_ends: np.ndarray) -> Query:
    """All users with the events before rows history_ends [U]."""
    none = np.zeros(len(history_ends), np.int64)
    return Query(events, np.arange(len(history_ends)), history_ends, query_times=none)


def test_habits_are_learnt(habits):
    regression = NextTypeRegression.fit(habits, habits.offsets[1:], 2)
    probabilities = regression.probabilities(query_of(habits, habits.offsets[1:]))
    assert (probabilities[::2, 0] > 0.95).all()
    last_was_a_purchase = probabilities[1::2]
    assert (last_was_a_purchase[:, 0] > 0.9).all()
    earlier = regression.probabilities(query_of(habits, habits.offsets[1:] - 1))
    assert (earlier[1::2, 1] > 0.7).all()


def test_probabilities_sum_to_one_even_without_history(habits):
    regression = NextTypeRegression.fit(habits, habits.offsets[1:], 2)
    probabilities = regression.probabilities(query_of(habits, habits.starts))
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(1), 1)


def test_the_future_changes_nothing(habits):
    history_ends = habits.starts + 4
    regression = NextTypeRegression.fit(habits, history_ends, 2)
    before = regression.probabilities(query_of(habits, history_ends))
    later = np.arange(len(habits.items)) >= history_ends[habits.owners]
    changed = Events(
        habits.offsets,
        habits.items,
        habits.times,
        np.where(later, 1 - habits.types, habits.types),
        habits.values,
    )
    regression = NextTypeRegression.fit(changed, history_ends, 2)
    after = regression.probabilities(query_of(changed, history_ends))
    np.testing.assert_array_equal(before, after)


def test_without_examples_all_types_are_equally_likely(habits):
    regression = NextTypeRegression.fit(habits, habits.starts, 2)
    probabilities = regression.probabilities(query_of(habits, habits.offsets[1:]))
    np.testing.assert_array_equal(probabilities, 0.5)


def test_a_saved_regression_is_the_same_when_loaded(habits, tmp_path):
    regression = NextTypeRegression.fit(habits, habits.offsets[1:], 2)
    regression.save(tmp_path / "actions.npz")
    again = NextTypeRegression.load(tmp_path / "actions.npz")
    query = query_of(habits, habits.offsets[1:])
    np.testing.assert_array_equal(again.probabilities(query), regression.probabilities(query))


def test_a_user_may_occur_in_many_queries(habits):
    regression = NextTypeRegression.fit(habits, habits.offsets[1:], 2)
    users = np.array([7, 2, 7, 7, 30])
    history_ends = habits.starts[users] + [3, 8, 0, 8, 1]
    query = Query(habits, users, history_ends, query_times=np.zeros(5, np.int64))
    together = regression.probabilities(query)
    alone = [regression.probabilities(query.part(slice(n, n + 1)))[0] for n in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-9)
