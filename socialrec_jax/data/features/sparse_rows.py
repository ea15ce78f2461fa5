"""Sparse rows over the catalogue: the best columns of a row, and the entries at given columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import cast

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs

_COLUMN_BITS = 0xFFFFFFFF  # the lower half of a sort key
_KEYS_AT_ONCE = 1 << 22  # padded sort keys of some rows: 32 MB


def pairs_of(table: np.ndarray) -> Pairs:
    """Items [q, C] of queries as pairs: query q owns row q."""
    num_queries, width = table.shape
    return Pairs(np.arange(num_queries + 1) * width, table.reshape(-1))


def entries_of(matrix: sparse.csr_array) -> Pairs:
    """The (row, column) pairs of a matrix, in the order of its data."""
    return Pairs(matrix.indptr, matrix.indices)


def num_columns(matrix: sparse.csr_array) -> int:
    """The width of a matrix."""
    # The type checker takes the shape for optional.
    _, columns = cast("tuple[int, int]", matrix.shape)
    return columns


def positions(pairs: Pairs, among: Pairs, num_items: int) -> np.ndarray:
    """Where the item of each pair [n] lies in the same query's row of `among`; -1 where it is not.

    They are positions in among.items; of an item that occurs several times, one of them.

    One array over the catalogue serves all queries in turn, and is written at their items alone. So
    the cost follows the pairs, never queries x items. It is the sparse accumulator of Gilbert,
    Moler and Schreiber (1992).
    """
    position_of_item = np.full(num_items, -1, np.int32)
    numbers = np.arange(len(among.items), dtype=np.int32)
    written = np.empty(len(pairs.items), np.int32)
    # numpy indexes fastest with integers of this type.
    items = pairs.items.astype(np.intp)
    among_items = among.items.astype(np.intp)

    for own, others in zip(_rows(pairs), _rows(among), strict=True):
        position_of_item[among_items[others]] = numbers[others]
        written[own] = position_of_item[items[own]]

    # What an earlier query has written lies before the query's own row.
    first_of_row = np.repeat(among.offsets[:-1], np.diff(pairs.offsets))
    return np.where(written >= first_of_row, written, -1)


def _rows(pairs: Pairs) -> Iterator[slice]:
    """Where the pairs of each query lie."""
    return itertools.starmap(slice, itertools.pairwise(pairs.offsets.tolist()))


def values_at(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """values [m] at positions [n] of `positions`; 0 where the position is -1."""
    with_zero = np.append(values, values.dtype.type(0))  # -1 reads the last one
    return with_zero[at]


def top_k_sparse(matrix: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns [q, k] int32, values [q, k] float32) of the k largest positive entries of each row.

    The largest comes first, and of equal ones the lower column. Where a row has fewer, columns are
    -1 and values 0. The cost grows with the entries, not with the width of the matrix.
    """
    num_rows = len(matrix.indptr) - 1
    columns = np.empty((num_rows, k), np.int32)
    values = np.empty((num_rows, k), np.float32)
    lengths = np.maximum(np.diff(matrix.indptr), k)
    for rows in rows_of_similar_length(lengths, _KEYS_AT_ONCE):
        columns[rows], values[rows] = _top_k(matrix[rows], k)
    return columns, values


def rows_of_similar_length(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """All rows, some at a time: at most `budget` cells when padded to the longest, or one row.

    A row of a group is at least half as long as the longest, so little is padding.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    shorter = -lengths[longest_first]
    done = 0
    while done < len(lengths):
        longest = int(-shorter[done])
        half_as_long = np.searchsorted(shorter, -longest / 2, side="right")
        end = min(int(half_as_long), done + max(budget // max(longest, 1), 1))
        yield np.sort(longest_first[done:end])
        done = end


def _top_k(matrix: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    keys = _sort_keys(matrix, k)
    # Selecting before sorting: rows are much longer than k.
    if keys.shape[1] > k:
        keys.partition(k - 1, axis=1)
    keys = np.sort(keys[:, :k], axis=1)

    columns = keys & _COLUMN_BITS
    value_bits = (columns - keys) >> 32
    values = value_bits.astype(np.int32).view(np.float32)
    columns = np.where(values > 0, columns, -1)
    return columns.astype(np.int32), values


def _sort_keys(matrix: sparse.csr_array, k: int) -> np.ndarray:
    """Rows [q, max(longest row, k)] int64 of keys; ascending keys mean descending values.

    A key holds the negative bits of the value above the bits of the column. Keys of one row are
    all different, so that the order never depends on the sorting algorithm.
    """
    counts = np.diff(matrix.indptr)
    longest = int(counts.max(initial=0))
    row = np.repeat(np.arange(len(counts)), counts)
    first_entry = np.repeat(matrix.indptr[:-1], counts)
    position = np.arange(matrix.nnz) - first_entry

    value_bits = order_bits(matrix.data)

    # A key of 0 fills short rows: it sorts behind all positive values.
    keys = np.zeros((len(counts), max(longest, k)), np.int64)
    keys[row, position] = matrix.indices - (value_bits << 32)
    return keys


def order_bits(values: np.ndarray) -> np.ndarray:
    """Integers [n] int64 in the order of float32 values [n]; what is not positive becomes 0."""
    # The bits of floats that are not negative are ordered as the floats are.
    positive = np.maximum(values, 0).astype(np.float32)
    return positive.view(np.int32).astype(np.int64)
