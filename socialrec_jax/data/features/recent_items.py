"""What somebody did lately, as sparse rows over the catalogue: the start of most simple
recommenders.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.world import Events

RECENT_EVENTS = 20  # of a history that count: later ones decay to nothing


def recent_items(
    events: Events, users: np.ndarray, history_ends: np.ndarray, num_items: int, decay: float
) -> sparse.csr_array:
    """Weights [q, V] float32 of the items before rows ends [q] of users [q]: decay^age, the last
    event has age 0.
    """
    ages = np.arange(RECENT_EVENTS)[None]
    rows = history_ends[:, None] - 1 - ages
    valid = rows >= events.offsets[users][:, None]
    query, age = np.nonzero(valid)
    weights = (decay**age).astype(np.float32)
    return sparse.csr_array((weights, (query, events.items[rows[valid]])), (len(users), num_items))


def top_k_sparse(matrix: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns [q, k] int32, values [q, k]) of the k largest positive entries of each row, the
    largest first and among equals the lower column; -1 and 0 where fewer.

    Works on rows padded to the longest one, so that cost follows the entries and not the width of
    the matrix. An entry is one integer of its value's bits and its column: no two are alike, so
    what is found does not depend on the others.
    """
    counts = np.diff(matrix.indptr)
    width = max(int(counts.max(initial=0)), k)
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    row = np.repeat(np.arange(len(counts)), counts)
    bits = (
        np.maximum(matrix.data, 0).astype(np.float32).view(np.int32)
    )  # ordered as what is not negative is
    keys = np.zeros((len(counts), width), np.int64)
    keys[row, place] = matrix.indices - (bits.astype(np.int64) << 32)
    keys = np.sort(np.partition(keys, k - 1, axis=1)[:, :k], axis=1)
    columns = keys & 0xFFFFFFFF
    values = ((columns - keys) >> 32).astype(np.int32).view(np.float32)
    return np.where(values > 0, columns, -1).astype(np.int32), values
