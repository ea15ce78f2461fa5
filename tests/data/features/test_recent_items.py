"""`recent_items` equals a loop over histories."""

from __future__ import annotations

import numpy as np
import pytest

from socialrec_jax.data.features.recent_items import RECENT_EVENTS, recent_items
from socialrec_jax.data.query import Query
from tests.worlds import events_of


@pytest.mark.parametrize("decay", [1.0, 0.8, 0.0])
def test_recent_items_decay_with_every_event_before_the_end(decay):
    rng = np.random.default_rng(0)
    events = events_of([rng.integers(0, 7, n).tolist() for n in (0, 1, 5, RECENT_EVENTS + 15, 12)])
    users = np.array([4, 3, 3, 2, 1, 0, 2])
    history_ends = events.offsets[users + 1] - [0, 0, 3, 2, 0, 0, 5]
    expected = np.zeros((len(users), 7))
    for row, (user, end) in enumerate(zip(users, history_ends, strict=True)):
        history = events.items[events.offsets[user] : end][::-1][:RECENT_EVENTS]
        for age, item in enumerate(history):
            expected[row, item] += decay**age
    query = Query(events, users, history_ends, query_times=np.zeros(len(users), np.int64))
    found = recent_items(query, 7, decay)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_only_so_many_events_count_as_are_wanted():
    events = events_of([[3, 1, 3, 2], [5], []])
    query = Query(events, np.arange(3), events.offsets[1:], query_times=np.zeros(3, np.int64))
    last = recent_items(query, 7, 0.8, num_events=1).toarray()
    np.testing.assert_array_equal(last, np.eye(7)[[2, 5, 0]] * [[1], [1], [0]])
