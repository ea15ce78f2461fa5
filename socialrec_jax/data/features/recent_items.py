"""Recent items of users as sparse rows over the catalogue, and the top k of sparse rows."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.world import Events

RECENT_EVENTS = 20  # older events have decayed to almost nothing


def recent_items(
    events: Events, users: np.ndarray, history_ends: np.ndarray, num_items: int, decay: float
) -> sparse.csr_array:
    """Weights decay^age [q, V] float32 of the events of users [q] before rows history_ends [q].

    The last event has age 0, the one before it age 1.
    """
    ages = np.arange(RECENT_EVENTS)[None]
    rows = history_ends[:, None] - 1 - ages
    exists = rows >= events.offsets[users][:, None]
    query, age = np.nonzero(exists)
    weights = (decay**age).astype(np.float32)
    coordinates = (query, events.items[rows[exists]])
    return sparse.csr_array((weights, coordinates), (len(users), num_items))


def top_k_sparse(matrix: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns [q, k] int32, values [q, k]) of the k largest positive entries of each row.

    The largest comes first, and of equal ones the lower column. Where a row has fewer, columns are
    -1 and values 0. The cost grows with the longest row, not with the width of the matrix.
    """
    keys = _sort_keys(matrix, k)
    keys = np.sort(np.partition(keys, k - 1, axis=1)[:, :k], axis=1)
    columns = keys & 0xFFFFFFFF
    values = ((columns - keys) >> 32).astype(np.int32).view(np.float32)
    return np.where(values > 0, columns, -1).astype(np.int32), values


def _sort_keys(matrix: sparse.csr_array, k: int) -> np.ndarray:
    """Rows [q, max(longest row, k)] int64 of keys; ascending keys mean descending values.

    A key holds the negative bits of the value above the bits of the column. Keys of one row are
    all different, so that the order never depends on the sorting algorithm.
    """
    counts = np.diff(matrix.indptr)
    width = max(int(counts.max(initial=0)), k)
    row = np.repeat(np.arange(len(counts)), counts)
    position = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)

    # The bits of floats that are not negative are ordered as the floats are.
    bits = np.maximum(matrix.data, 0).astype(np.float32).view(np.int32)
    keys = np.zeros((len(counts), width), np.int64)
    keys[row, position] = matrix.indices - (bits.astype(np.int64) << 32)
    return keys
