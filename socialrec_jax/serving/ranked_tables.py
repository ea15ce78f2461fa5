"""Tables in the types of the contract, and those of the best items of each query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError


def check_k(k: int, world: World) -> None:
    """Raises UsageError where k is not 1..catalogue."""
    # A longer list would hold items that do not exist.
    if not 1 <= k <= world.num_items:
        raise UsageError(
            f"k is {k}, the catalogue has {world.num_items} items: choose 1..{world.num_items}"
        )


def typed_table(schema: pa.Schema, arrays: Sequence[pa.Array]) -> pa.Table:
    """The columns of a schema; `take` gives large strings and 64-bit ranks, files narrower ones."""
    # In memory too: joined tables need one schema.
    typed = [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)]
    return pa.Table.from_arrays(typed, schema=schema)


def ranked_schema(query: str, item: str) -> pa.Schema:
    """The columns of `ranked_table`. query, item: what the task calls them."""
    return pa.schema(
        [
            (query, pa.string()),
            ("rank", pa.int32()),
            (item, pa.string()),
            ("score", pa.float32()),
        ]
    )


def ranked_table(
    schema: pa.Schema,
    queries: pa.Array,
    item_names: pa.Array,
    items: np.ndarray,
    scores: np.ndarray,
) -> pa.Table:
    """One row for each item [q, k] that exists (not -1), query after query, the best first.

    schema: see `ranked_schema`.
    """
    # Row by row, so that the best item of a query comes first.
    row, place = np.nonzero(items >= 0)
    arrays = [
        queries.take(pa.array(row)),
        pa.array(place + 1),
        item_names.take(pa.array(items[row, place])),
        pa.array(scores[row, place]),
    ]
    return typed_table(schema, arrays)
