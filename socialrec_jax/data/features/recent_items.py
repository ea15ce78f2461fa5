"""Recent items of users as sparse rows over the catalogue, and the top k of sparse rows."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.world import Events

RECENT_EVENTS = 20  # older events have decayed to almost nothing
_COLUMN_BITS = 0xFFFFFFFF  # the lower half of a sort key


def recent_items(
    events: Events, users: np.ndarray, history_ends: np.ndarray, num_items: int, decay: float
) -> sparse.csr_array:
    """Weights decay^age [q, V] float32 of the events of users [q] before rows history_ends [q].

    The last event has age 0, the one before it age 1.
    """
    last_rows = history_ends[:, None] - 1
    rows = last_rows - np.arange(RECENT_EVENTS)
    first_rows = events.offsets[users][:, None]
    exists = rows >= first_rows

    query, age = np.nonzero(exists)
    weights = (decay**age).astype(np.float32)
    items = events.items[rows[exists]]
    # An item that occurs several times gets the sum of its weights.
    return sparse.csr_array((weights, (query, items)), (len(users), num_items))


def top_k_sparse(matrix: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns [q, k] int32, values [q, k]) of the k largest positive entries of each row.

    The largest comes first, and of equal ones the lower column. Where a row has fewer, columns are
    -1 and values 0. The cost grows with the longest row, not with the width of the matrix.
    """
    keys = _sort_keys(matrix, k)
    # Selecting before sorting: rows are much longer than k.
    smallest = np.partition(keys, k - 1, axis=1)[:, :k]
    keys = np.sort(smallest, axis=1)

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

    # The bits of floats that are not negative are ordered as the floats are.
    positive = np.maximum(matrix.data, 0).astype(np.float32)
    value_bits = positive.view(np.int32).astype(np.int64)

    # A key of 0 fills short rows: it sorts behind all positive values.
    keys = np.zeros((len(counts), max(longest, k)), np.int64)
    keys[row, position] = matrix.indices - (value_bits << 32)
    return keys
