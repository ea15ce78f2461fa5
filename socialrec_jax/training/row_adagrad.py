"""Embedding tables that no step touches as a whole: rows are looked up, differentiated and updated
alone.

A dense gradient of a table costs several passes over all of it at every step. Here a step costs
what its rows cost: distinct ids -> rows -> gradients of these rows -> row-wise Adagrad in place,

    s_v += mean(g_v^2)        e_v -= rate * g_v / sqrt(s_v)        for each row v of the step

A table's rows lie in shards over the devices (`models/embedding_tables.py` says which row where).
Each device sends the owners the places of the rows that it needs, in messages of a fixed size; rows
come back and gradients return the same way. `Lookup.lost` counts the rows that found no room in a
message. One device is the case of a single owner.

Sources: Adagrad (Duchi et al. 2011), one sum a row and tables split by rows as in DLRM (Naumov et
al. 2019).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from socialrec_jax.errors import UsageError
from socialrec_jax.models.embedding_tables import (
    NUM_SHARDS,
    in_number_order,
    in_place_order,
    numbers_at,
    places_of,
    rows_per_shard,
)
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array, Floats, Ints

_TINY = 1e-30  # keeps a row whose gradients were all zero where it is


class Table(struct.PyTreeNode):
    """The rows of a table by place, and the optimiser's state of each: this process's share of them
    [V, ...]; inside a step, this device's.
    """

    rows: Floats[Array, "V D"]
    squares: Floats[Array, "V"]  # sum of each row's mean squared gradients
    num_rows: int = struct.field(pytree_node=False)  # of the whole table, without padding

    @property
    def parameter(self) -> Array:
        """The rows of all processes in the order of their numbers, as the model has them.

        All processes must call it together.
        """
        return in_number_order(parallel.of_all_processes(self.rows), self.num_rows)


class Lookup(struct.PyTreeNode):
    """N ids of this device's batch as places among U distinct rows, and the way of these rows from
    their owners.
    """

    ids: Ints[Array, "U"]  # of each distinct row; unused entries repeat an id
    places: Ints[Array, "N"]  # of each id among the distinct rows
    rows: Floats[Array, "U D"]
    # Of each distinct row in the messages; past their end where it found no room or is unused.
    message_places: Ints[Array, "U"]
    # Rows of this device's share that the devices requested; past its end where none.
    requested: Ints[Array, "W"]
    # Number of rows that found no room. Zeros stand for them, and their gradients are dropped.
    lost: Ints[Array, ""]


def initial_table(num_rows: int, width: int, deviation: float, key: Array) -> Table:
    """Normal rows over all devices, the same on any number of them."""
    shape = (rows_per_shard(num_rows), width)

    def draw(shard):
        return deviation * jax.random.normal(jax.random.fold_in(key, shard), shape)

    def draw_share(_, shards):
        # One shard at a time: the random bits of a whole share would need its memory twice more.
        return jax.lax.map(draw, shards).reshape(-1, width)

    shards = _split_over_devices(np.arange(NUM_SHARDS, dtype=np.int32))
    return _without_history(parallel.map_devices(draw_share)(key, shards), num_rows)


def of_parameter(parameter: np.ndarray) -> Table:
    """A table that continues from rows [V, D] on the host, in the order of their numbers."""
    return _without_history(_split_over_devices(in_place_order(parameter)), len(parameter))


def _without_history(shares: Array | np.ndarray, num_rows: int) -> Table:
    """A table of rows [P, n, D] on this process's P devices."""
    squares = np.zeros(shares.shape[:2], np.float32)
    return Table(*parallel.as_rows((shares, squares)), num_rows)


def _split_over_devices(rows: np.ndarray) -> np.ndarray:
    """This process's part of rows [NUM_SHARDS * n, ...], by device [P, ...].

    Raises UsageError where the devices do not divide the shards.
    """
    devices = parallel.num_devices()
    if NUM_SHARDS % devices:
        raise UsageError(f"tables this big need 1, 2, 4, 8, 16, 32 or 64 devices, not {devices}")
    return parallel.split_over_devices(parallel.of_this_process(rows))


def look_up(table: Table, ids: Ints[Array, "N"]) -> Lookup:
    """The rows of ids, which may repeat and may differ between devices. Inside a step."""
    end = parallel.num_devices() * len(table.rows)  # places in the whole table
    shard_size = end // NUM_SHARDS
    num_distinct = min(len(ids), end)
    distinct, places = _distinct(places_of(ids, shard_size), num_distinct, end)
    # Unused entries repeat the last row's id.
    numbers = numbers_at(jnp.minimum(distinct, end - 1), shard_size)
    if parallel.num_devices() == 1:
        return _look_up_here(table, distinct, numbers, places)
    return _look_up_at_owners(table, distinct, numbers, places)


def _look_up_here(table: Table, distinct: Array, numbers: Array, places: Array) -> Lookup:
    """The lookup of the only device, which sends no messages."""
    return Lookup(
        ids=numbers,
        places=places,
        rows=_rows_at(table, distinct),
        message_places=jnp.arange(len(distinct), dtype=jnp.int32),
        requested=distinct,
        lost=jnp.zeros((), jnp.int32),
    )


def _look_up_at_owners(table: Table, distinct: Array, numbers: Array, places: Array) -> Lookup:
    """The lookup of one of several devices."""
    owners, share = parallel.num_devices(), len(table.rows)
    size = message_size(len(places), owners, share)
    message_places, lost = _message_places(distinct, owners, share, size)

    message = jnp.full(owners * size, share, jnp.int32)
    message = message.at[message_places].set(distinct % share, mode="drop")
    requested = parallel.all_to_all(message)
    answers = parallel.all_to_all(_rows_at(table, requested))
    return Lookup(
        ids=numbers,
        places=places,
        rows=answers.at[message_places].get(mode="fill", fill_value=0),
        message_places=message_places,
        requested=requested,
        lost=lost,
    )


def _rows_at(table: Table, places: Array) -> jax.Array:
    """Rows of this device's share; zeros for places past its end."""
    return jnp.asarray(table.rows).at[places].get(mode="fill", fill_value=0)


def _message_places(distinct: Array, owners: int, share: int, size: int) -> tuple[Array, Array]:
    """(place of each distinct row in the messages to its owner, number of rows without room).

    Messages are `owners` runs of `size` entries; rows without room get the place past the end.
    """
    # Sorted places are sorted by owner, so the first row of each owner gives the index.
    owner = distinct // share
    first = jnp.searchsorted(distinct, owner * share)
    index = jnp.arange(len(distinct)) - first

    is_used = distinct < owners * share
    fits = index < size
    message_places = jnp.where(is_used & fits, owner * size + index, owners * size)
    return message_places, jnp.sum(is_used & ~fits, dtype=jnp.int32)


def _distinct(values: Array, size: int, end: int) -> tuple[Array, Array]:
    """(sorted distinct values [size], filled up with `end`; index of each value among them).

    `jnp.unique` takes three times as long.
    """
    ordered = jnp.sort(values)
    is_first = jnp.diff(ordered, prepend=-1) > 0
    index = jnp.cumsum(is_first) - 1
    distinct = jnp.full(size, end, ordered.dtype)
    distinct = distinct.at[index].set(ordered, indices_are_sorted=True)
    # A loop is faster on a CPU; an accelerator would start a kernel for each of its iterations.
    method = "scan" if jax.default_backend() == "cpu" else "scan_unrolled"
    places = jnp.searchsorted(distinct, values, method=method)
    return distinct, places.astype(jnp.int32)


def message_size(num_ids: int, owners: int, share: int) -> int:
    """Rows that one device may request of another: six standard deviations above what evenly spread
    ids need.
    """
    mean = num_ids / owners
    size = int(np.ceil(mean + 6 * np.sqrt(mean)))
    return min(num_ids, share, size)


def update_rows(
    table: Table, lookup: Lookup, gradients: Floats[Array, "U D"], weight: Array, rate: Array
) -> Table:
    """The table after one step of row-wise Adagrad along the sum of all devices' gradients over
    weight.

    Rows whose gradient is zero do not change. Inside a step.
    """
    owned, sums_of_gradients = _gradients_of_owned(table, lookup, gradients)
    return _updated(table, owned, sums_of_gradients / weight, rate)


def update_tables(
    tables: dict[str, Table],
    lookups: dict[str, Lookup],
    gradients: dict,
    weight: Array,
    rate: Array,
) -> dict[str, Table]:
    """All tables by name after one step."""
    return {
        name: update_rows(table, lookups[name], gradients[name], weight, rate)
        for name, table in tables.items()
    }


def are_finite(gradients: dict) -> Array | bool:
    """Whether all devices' gradients of rows are finite. Inside a step."""
    if not gradients:
        return True
    wrong = [jnp.sum(~jnp.isfinite(leaf)) for leaf in gradients.values()]
    return parallel.sum_over_devices(sum(wrong)) == 0


def _updated(table: Table, owned: Array, gradients: Array, rate: Array) -> Table:
    """The table after a step along the gradients [U, D] of sorted distinct rows of this share."""
    # Only these rows are read and written; the table's own buffers are donated to the step.
    rows = jnp.asarray(table.rows).at[owned]
    squares = jnp.asarray(table.squares).at[owned]
    earlier = squares.get(mode="fill", fill_value=0)
    sums = earlier + jnp.mean(gradients**2, -1)
    step = rate * gradients * jax.lax.rsqrt(sums + _TINY)[:, None]
    return table.replace(
        rows=rows.add(-step, mode="drop", unique_indices=True, indices_are_sorted=True),
        squares=squares.set(sums, mode="drop", unique_indices=True, indices_are_sorted=True),
    )


def _gradients_of_owned(table: Table, lookup: Lookup, gradients: Array) -> tuple[Array, Array]:
    """(sorted distinct rows of this device's share, their gradients, summed over devices)."""
    if parallel.num_devices() == 1:
        return lookup.requested, gradients
    share, width = table.rows.shape
    message = jnp.zeros((len(lookup.requested), width))
    message = message.at[lookup.message_places].set(gradients, mode="drop")
    received = parallel.all_to_all(message)

    # Several devices may have requested one row: add up their gradients.
    owned, index = _distinct(lookup.requested, len(lookup.requested), share)
    return owned, jax.ops.segment_sum(received, index, len(owned))
