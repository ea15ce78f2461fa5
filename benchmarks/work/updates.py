"""The update of an embedding table of which a step uses a few rows: the whole table by Adam, or
those rows by row-wise Adagrad.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, WrongResult, expect_close
from benchmarks.harness.workloads import CATALOGUES, Catalogue
from socialrec_jax.models.embedding_tables import in_number_order
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array
from socialrec_jax.training import row_adagrad
from socialrec_jax.training.state import adam, initial_state, update_state

_LEARNING_RATE = 1e-3
# Adam divides by the root of a small number plus epsilon, which moves the update a little.
_FEW_ROWS, _FEW_IDS = 20_000, 4096  # of the table whose update is compared with its formula
_TOLERANCE = 2e-2  # of the first update against its formula


def whole_table(name: str) -> Work:
    """Adam's update of the whole table: all moments decay, all rows move."""
    workload = CATALOGUES[name]
    table, ids = random_table(workload)
    # A constant learning rate, so that the first update is known.
    optimizer = adam(lambda _: jnp.float32(_LEARNING_RATE))

    def loss(params, ids):
        return _loss(jnp.take(params["ids"], ids, axis=0))

    def update(state, ids):
        gradients = jax.grad(loss)(state.params, ids)
        return update_state(state, gradients, optimizer, ema_decay=0.995)

    call = jax.jit(update, donate_argnums=0)
    state = call(initial_state({"ids": table}, optimizer), ids)
    # Some of the rows that have a gradient.
    rows = ids[:64]
    moved = np.asarray(state.params["ids"][rows]) - table[rows]
    # Adam's first step is the learning rate against the gradient's sign, which is + here.
    expected = np.full_like(moved, -_LEARNING_RATE)
    return Work(
        call=lambda state: call(state, ids),
        carry=state,
        check=lambda _: expect_close("the first update", moved, expected, _TOLERANCE),
        unit="ids",
        units_per_call=workload.ids,
        bytes=flops.adam_bytes(table.size),
    )


def rows_alone(name: str) -> Work:
    """Row-wise Adagrad's update along the same gradient: the rows in use, and no others."""
    return _rows_alone(CATALOGUES[name])


def _rows_alone(workload: Catalogue) -> Work:
    table, ids = random_table(workload)
    call = parallel.scan_steps(_row_step, axes={"table": 0})
    # [devices, steps, ids of a device]
    batch = ids.reshape(parallel.num_local_devices(), 1, -1)
    shares = parallel.as_shards(row_adagrad.of_parameter(table))
    state, lost = call({"table": shares}, batch)

    # An id may occur several times, and its gradients add up.
    rows, visits = np.unique(ids, return_counts=True)
    # The shares of all devices, one after the other, are the whole table in the order of shards.
    placed = np.asarray(state["table"].rows).reshape(-1, workload.width)
    updated = in_number_order(placed, len(table))
    moved = updated[rows] - table[rows]
    expected = _first_row_updates(table[rows], visits)
    devices = parallel.num_devices()
    return Work(
        call=lambda carry: call(carry[0], batch),
        carry=(state, lost),
        check=lambda _: expect_close("the first update", moved, expected, _TOLERANCE),
        unit="ids",
        units_per_call=workload.ids,
        bytes=flops.row_bytes(len(rows), workload.width),
        network_bytes=flops.exchange_bytes(len(rows) // devices, workload.width, devices),
        devices=devices,
    )


def rows_of_large_table(workload: Catalogue) -> Work:
    """The same update in a table that is made on the devices: drawing it on the host would take
    minutes. The formula is compared on a small table of the same width.
    """
    devices = parallel.num_devices()
    ids = _random_ids(np.random.default_rng(0), workload)
    batch = ids.reshape(parallel.num_local_devices(), 1, -1)
    call = parallel.scan_steps(_row_step, axes={"table": 0})
    table = row_adagrad.initial_table(workload.items, workload.width, 1.0, jax.random.key(0))
    # Nothing else may hold the table, so that it is updated in place.
    carry = call({"table": parallel.as_shards(table)}, batch)
    del table

    rows = len(np.unique(ids))
    return Work(
        call=lambda carry: call(carry[0], batch),
        carry=carry,
        check=lambda carry: _check_large_table(workload, carry[1]),
        unit="ids",
        units_per_call=workload.ids,
        bytes=flops.row_bytes(rows, workload.width),
        network_bytes=flops.exchange_bytes(rows // devices, workload.width, devices),
        devices=devices,
    )


def _check_large_table(workload: Catalogue, lost: Array) -> str:
    if np.asarray(lost).any():
        raise WrongResult("rows found no room in the messages between devices")
    few = dataclasses.replace(
        workload, items=min(workload.items, _FEW_ROWS), ids=min(workload.ids, _FEW_IDS)
    )
    small = _rows_alone(few)
    return f"{small.check(small.carry)}, at {few.items:,} rows"


def fitting(workload: Catalogue) -> Catalogue:
    """The table, or as many of its rows as half of a device's memory holds."""
    row_bytes = 4 * (workload.width + 1)
    rows = parallel.num_devices() * 2 * parallel.memory_for_data() // row_bytes
    if workload.items <= rows:
        return workload
    return dataclasses.replace(workload, name=f"rows-{rows / 1e6:.1f}m", items=rows)


def _row_step(state: dict, _shared: tuple, ids: Array) -> tuple[dict, Array]:
    """One step on ids [N]: (state, how many ids were lost)."""
    lookup = row_adagrad.look_up(state["table"], ids)
    gradients = jax.grad(lambda rows: _loss(rows[lookup.places]))(lookup.rows)
    weight, rate = jnp.float32(1), jnp.float32(_LEARNING_RATE)
    table = row_adagrad.update_rows(state["table"], lookup, gradients, weight, rate)
    return {"table": table}, lookup.lost


def _loss(rows: Array) -> Array:
    """A loss whose gradient is positive in every entry of every row in use."""
    return jnp.sum(jnp.tanh(rows))


def _first_row_updates(rows: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """Row-wise Adagrad's first update [n, D]: the gradient over the root of its mean square."""
    # The derivative of tanh, once for each visit.
    gradients = visits[:, None] * (1 - np.tanh(rows) ** 2)
    mean_squares = np.mean(gradients**2, axis=1, keepdims=True)
    return -_LEARNING_RATE * gradients / np.sqrt(mean_squares)


def random_table(workload: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """A table [V, D], and the ids [N] that a step looks up, drawn uniformly."""
    rng = np.random.default_rng(0)
    ids = _random_ids(rng, workload)
    table = rng.normal(size=(workload.items, workload.width)).astype(np.float32)
    return table, ids


def _random_ids(rng: np.random.Generator, workload: Catalogue) -> np.ndarray:
    return rng.integers(0, workload.items, workload.ids, np.int32)
