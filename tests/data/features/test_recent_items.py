"""`recent_items` equals a loop over histories, and `top_k_sparse` equals a stable sort."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse

from socialrec_jax.data.features.recent_items import RECENT_EVENTS, recent_items, top_k_sparse
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
    found = recent_items(events, users, history_ends, 7, decay)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)
    assert found.dtype == np.float32


def rows_of(kind: str, rng) -> np.ndarray:
    values = rng.normal(size=(30, 40)) if kind == "distinct" else rng.integers(-1, 3, (30, 40))
    dense = np.where(rng.random((30, 40)) < 0.4, values, 0).astype(np.float32)
    dense[3], dense[4] = 0, -1
    return dense


@pytest.mark.parametrize("kind", ["distinct", "many equal"])
@pytest.mark.parametrize("k", [1, 3, 20, 50])
def test_top_k_equals_a_stable_sort(kind, k):
    dense = rows_of(kind, np.random.default_rng(k))
    columns, values = top_k_sparse(sparse.csr_array(dense), k)
    assert columns.shape == values.shape == (30, k)
    for row, column, value in zip(dense, columns, values, strict=True):
        order = [c for c in np.argsort(-row, kind="stable")[:k] if row[c] > 0]
        np.testing.assert_array_equal(column, order + [-1] * (k - len(order)))
        np.testing.assert_array_equal(value[: len(order)], row[order])
        assert (value[len(order) :] == 0).all()


def test_top_k_of_a_row_does_not_depend_on_other_rows():
    dense = rows_of("many equal", np.random.default_rng(0))
    columns, _ = top_k_sparse(sparse.csr_array(dense), 5)
    for number, row in enumerate(dense):
        np.testing.assert_array_equal(
            top_k_sparse(sparse.csr_array(row[None]), 5)[0][0], columns[number]
        )


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (4, 5)])
def test_top_k_of_empty_matrices(shape):
    columns, values = top_k_sparse(sparse.csr_array(shape, dtype=np.float32), 3)
    np.testing.assert_array_equal(columns, np.full((shape[0], 3), -1))
    np.testing.assert_array_equal(values, np.zeros((shape[0], 3)))
