"""Embedding tables that no step touches as a whole: rows are looked up, differentiated and updated
alone.

A dense gradient of a table costs several passes over all of it at every step, whoever was in the
batch. Here a step costs what its rows cost: distinct ids -> rows -> gradients of these rows ->
row-wise Adagrad in place,

    s_v += mean(g_v^2)        e_v -= rate * g_v / sqrt(s_v)                                     for each row v touched

Rows lie in blocks over the devices in the order of their numbers, so a table is the parameter
itself: evaluation, serving and checkpoints read it as it is, and one device is the case of a single
owner. World numbers are hashes of ids, which spreads popular rows evenly. Each device asks the
owners for its rows in messages of a fixed size and sends the gradients back the same way;
`Lookup.lost` counts what found no room.

Sources: Adagrad (Duchi et al. 2011), one sum a row and tables split by rows as in DLRM (Naumov et
al. 2019).
"""

from __future__ import annotations

import logging

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from socialrec_jax.errors import UsageError
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array, Floats, Ints

_log = logging.getLogger("socialrec_jax")
# a table's rows are a multiple of it: any number of devices that divides it can hold the table
BLOCKS = 64
_TINY = 1e-30  # a row whose gradients were all zero stays where it is


class Table(struct.PyTreeNode):
    """V rows and what the optimiser remembers of each: this process's share of them; inside a step,
    this device's.
    """

    rows: Floats[Array, "V D"]  # the last ones are padding
    squares: Floats[Array, "V"]  # sum of each row's mean squared gradients
    num_rows: int = struct.field(pytree_node=False)  # without padding

    @property
    def parameter(self) -> Array:
        """The rows of all processes as the model knows them; all processes must ask."""
        rows = parallel.of_all_processes(self.rows)
        return rows if len(rows) == self.num_rows else rows[: self.num_rows]


class Lookup(struct.PyTreeNode):
    """N ids of this device's batch as places among U rows, and how the rows came here from their
    owners.
    """

    ids: Ints[Array, "U"]  # distinct and sorted; unused places hold numbers past the table
    places: Ints[Array, "N"]
    rows: Floats[Array, "U D"]
    message_places: Ints[
        Array, "U"
    ]  # of each row in the messages; past their end where there was no room or nothing to ask
    wanted: Ints[
        Array, "W"
    ]  # rows of this device's share that the devices asked for; past its end where none
    lost: Ints[
        Array, ""
    ]  # rows that found no room: zeros came for them, and their gradients go nowhere


def initial_table(num_rows: int, width: int, deviation: float, key: Array) -> Table:
    """Normal rows over all devices, the same on any number of them."""
    block = _block_of(num_rows)

    def share(key, blocks):
        def draw(
            number,
        ):  # one block at a time: random bits of a whole table would need its memory twice more
            return deviation * jax.random.normal(jax.random.fold_in(key, number), (block, width))

        return jax.lax.map(draw, blocks).reshape(-1, width)

    numbers = _sharded(np.arange(BLOCKS, dtype=np.int32))
    return _unlearnt(parallel.map_devices(share)(key, numbers), num_rows)


def of_parameter(parameter: np.ndarray) -> Table:
    """A table that goes on from rows [V, D] on the host."""
    padding = BLOCKS * _block_of(len(parameter)) - len(parameter)
    return _unlearnt(_sharded(np.pad(parameter, [(0, padding), (0, 0)])), len(parameter))


def _unlearnt(shares: Array | np.ndarray, num_rows: int) -> Table:
    """A table of rows [P, n, D] on this process's P devices."""
    squares = np.zeros(shares.shape[:2], np.float32)
    return Table(*parallel.as_rows((shares, squares)), num_rows)


def _block_of(num_rows: int) -> int:
    return -(-num_rows // BLOCKS)


def _sharded(rows: np.ndarray) -> np.ndarray:
    """This process's part of rows [BLOCKS * n, ...], device by device [P, BLOCKS * n / devices,
    ...].
    """
    if BLOCKS % parallel.num_devices():
        raise UsageError(
            f"tables this big need 1, 2, 4, 8, 16, 32 or 64 devices, not {parallel.num_devices()}"
        )
    return parallel.split_over_devices(parallel.of_this_process(rows))


def look_up(table: Table, ids: Ints[Array, "N"]) -> Lookup:
    """The rows of ids, which may repeat and may differ between devices. Inside a step."""
    owners, share = parallel.num_devices(), len(table.rows)
    past = owners * share
    distinct, places = _distinct(ids, min(len(ids), past), past)
    size = message_size(len(ids), owners, share)
    owner = distinct // share  # sorted ids are sorted by owner
    place = jnp.arange(len(distinct)) - jnp.searchsorted(distinct, owner * share)
    requested, fits = distinct < past, place < size
    message_places = jnp.where(requested & fits, owner * size + place, owners * size)
    question = (
        jnp.full(owners * size, share, jnp.int32)
        .at[message_places]
        .set(distinct % share, mode="drop")
    )
    wanted = parallel.all_to_all(question)
    answer = parallel.all_to_all(jnp.asarray(table.rows).at[wanted].get(mode="fill", fill_value=0))
    rows = answer.at[message_places].get(mode="fill", fill_value=0)
    return Lookup(
        distinct, places, rows, message_places, wanted, jnp.sum(requested & ~fits, dtype=jnp.int32)
    )


def _distinct(ids: Array, size: int, past: int) -> tuple[Array, Array]:
    """(sorted distinct ids [size], then `past`; place of each id among them): `jnp.unique` in a
    third of its time.
    """
    ordered = jnp.sort(ids)
    places = jnp.cumsum(jnp.diff(ordered, prepend=-1) > 0) - 1
    distinct = jnp.full(size, past, ordered.dtype).at[places].set(ordered, indices_are_sorted=True)
    return distinct, jnp.searchsorted(distinct, ids).astype(jnp.int32)


def message_size(num_ids: int, owners: int, share: int) -> int:
    """Rows that one device may ask of another: six deviations above what evenly spread ids need."""
    mean = num_ids / owners
    return min(num_ids, share, int(np.ceil(mean + 6 * np.sqrt(mean))))


def update_rows(
    table: Table, found: Lookup, gradients: Floats[Array, "U D"], weight: Array, rate: Array
) -> Table:
    """The table after one step of row-wise Adagrad along the sum of all devices' gradients over
    weight.

    Rows whose gradient is zero stay as they are. Inside a step.
    """
    share, width = table.rows.shape
    sent = (
        jnp.zeros((len(found.wanted), width)).at[found.message_places].set(gradients, mode="drop")
    )
    ours, places = _distinct(found.wanted, len(found.wanted), share)
    gradients = jax.ops.segment_sum(parallel.all_to_all(sent), places, len(ours)) / weight
    rows, squares = jnp.asarray(table.rows).at[ours], jnp.asarray(table.squares).at[ours]
    sums = squares.get(mode="fill", fill_value=0) + jnp.mean(gradients**2, -1)
    step = rate * gradients * jax.lax.rsqrt(sums + _TINY)[:, None]
    return table.replace(
        rows=rows.add(-step, mode="drop", unique_indices=True, indices_are_sorted=True),
        squares=squares.set(sums, mode="drop", unique_indices=True, indices_are_sorted=True),
    )


def warn_of_lost(lost: Ints[Array, "K"]) -> None:
    """Warn of the rows that found no room in K steps. On the host."""
    if rows := int(np.sum(np.asarray(lost))):
        _log.warning(
            "%d table rows found no room in messages and were not learnt: train on fewer devices",
            rows,
        )
