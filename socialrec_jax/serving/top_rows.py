"""The best rows of each owner, and lists of structs for tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from socialrec_jax.data.csr import offsets_of


def best_rows(owners: np.ndarray, keys: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The rows of the `count` largest keys of each owner, owner by owner, the best first.

    owners [n], keys: columns [n], of which a later one decides between equals. Among rows that are
    equal in all keys the earlier one comes first.
    """
    descending = [-key for key in keys]
    # lexsort takes the most important key last, and is stable.
    order = np.lexsort([*reversed(descending), owners])
    sorted_owners = owners[order]
    first_of_owner = np.searchsorted(sorted_owners, sorted_owners, side="left")
    place = np.arange(len(order)) - first_of_owner
    return order[place < count]


def list_column(owners: np.ndarray, count: int, fields: dict[str, pa.Array]) -> pa.Array:
    """A list of structs for each of `count` owners, from rows sorted by their owner [n]."""
    # Arrow's lists have offsets of 32 bits.
    offsets = pa.array(offsets_of(owners, count).astype(np.int32))
    structs = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    return pa.ListArray.from_arrays(offsets, structs)
