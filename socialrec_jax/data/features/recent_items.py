"""Recent items of users as sparse rows over the catalogue."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.query import Query

RECENT_EVENTS = 20  # older events have decayed to almost nothing


def recent_items(
    query: Query, num_items: int, decay: float, num_events: int = RECENT_EVENTS
) -> sparse.csr_array:
    """Weights decay^age [q, V] float32 of the last events of queries [q].

    The last event has age 0, the one before it age 1.
    """
    last_rows = query.history_ends[:, None] - 1
    rows = last_rows - np.arange(num_events)
    first_rows = query.events.offsets[query.users][:, None]
    exists = rows >= first_rows

    row, age = np.nonzero(exists)
    weights = (decay**age).astype(np.float32)
    items = query.events.items[rows[exists]]
    # An item that occurs several times gets the sum of its weights.
    return sparse.csr_array((weights, (row, items)), (len(query), num_items))
