"""`top_k_sparse` equals a stable sort, and `positions` equals a loop over queries."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features import sparse_rows
from socialrec_jax.data.features.sparse_rows import (
    entries_of,
    pairs_of,
    positions,
    top_k_sparse,
    values_at,
)


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


def test_long_rows_are_sorted_apart_from_short_ones(monkeypatch):
    dense = rows_of("many equal", np.random.default_rng(0))
    dense[::3, 5:] = 0
    whole = top_k_sparse(sparse.csr_array(dense), 5)
    monkeypatch.setattr(sparse_rows, "_KEYS_AT_ONCE", 60)
    for some, expected in zip(top_k_sparse(sparse.csr_array(dense), 5), whole, strict=True):
        np.testing.assert_array_equal(some, expected)


def test_values_at_columns_are_those_of_the_dense_matrix():
    rng = np.random.default_rng(0)
    dense = rows_of("distinct", rng)
    matrix = sparse.csr_array(dense)
    columns = rng.integers(0, 40, (30, 12))
    at = positions(pairs_of(columns), entries_of(matrix), 40).reshape(columns.shape)
    np.testing.assert_array_equal(
        values_at(matrix.data, at), np.take_along_axis(dense, columns, axis=1)
    )


def test_positions_are_those_of_the_same_query_alone():
    among = Pairs(np.array([0, 2, 2, 4]), np.array([3, 1, 1, 1]))
    pairs = Pairs(np.array([0, 3, 4, 6]), np.array([1, 2, 3, 1, 3, 1]))
    found = positions(pairs, among, 5)
    assert found[:5].tolist() == [1, -1, 0, -1, -1]
    assert found[5] in (2, 3)
