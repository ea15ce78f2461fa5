"""Tables of the best items of each query, whatever a query is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError


def check_k(k: int, world: World) -> None:
    """Raises UsageError where k is not 1..catalogue."""
    if not 1 <= k <= world.num_items:
        raise UsageError(
            f"k is {k}, the catalogue has {world.num_items} items: choose 1..{world.num_items}"
        )


def ranked_table(
    schema: pa.Schema,
    queries: pa.Array,
    item_names: pa.Array,
    items: np.ndarray,
    scores: np.ndarray,
) -> pa.Table:
    """One row for each item [q, k] that exists (not -1), query after query, the best first.

    schema: the columns query, rank, item and score, under the names of the task.
    """
    row, place = np.nonzero(items >= 0)
    arrays = [
        queries.take(pa.array(row)),
        pa.array(place + 1),
        item_names.take(pa.array(items[row, place])),
        pa.array(scores[row, place]),
    ]
    # Take gives large strings and int64 ranks; the file has the narrower types of the contract.
    typed = [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)]
    return pa.Table.from_arrays(typed, schema=schema)
