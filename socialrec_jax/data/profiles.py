"""What somebody did lately, as sparse rows over the catalogue: the start of most simple recommenders."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.world import Events

RECENT_EVENTS = 20  # of a history that count: later ones decay to nothing


def recent_items(events: Events, users: np.ndarray, ends: np.ndarray, num_items: int, decay: float) -> sparse.csr_array:
    """Weights [q, V] float32 of the items before rows ends [q] of users [q]: decay^age, the last event has age 0."""
    ages = np.arange(RECENT_EVENTS)[None]
    rows = ends[:, None] - 1 - ages
    valid = rows >= events.offsets[users][:, None]
    query, age = np.nonzero(valid)
    weights = (decay**age).astype(np.float32)
    return sparse.csr_array((weights, (query, events.items[rows[valid]])), (len(users), num_items))


def strongest(matrix: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns [q, k] int32, values [q, k]) of the k largest positive entries of each row; -1 and 0 where fewer.

    Works on rows padded to the longest one, so that cost follows the entries and not the width of the matrix.
    """
    counts = np.diff(matrix.indptr)
    width = max(int(counts.max(initial=0)), k)
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    row = np.repeat(np.arange(len(counts)), counts)
    values, columns = np.zeros((len(counts), width), np.float32), np.full((len(counts), width), -1, np.int32)
    values[row, place], columns[row, place] = matrix.data, matrix.indices
    best = (
        np.argpartition(-values, k - 1, axis=1)[:, :k] if k < width else np.broadcast_to(np.arange(width), values.shape)
    )
    found = np.take_along_axis(values, best, 1)
    return np.where(found > 0, np.take_along_axis(columns, best, 1), -1), np.maximum(found, 0)
