"""The update of a table of ids alone, of which a step touches a few rows: dense, and row by row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flops
from benchmarks.cases import Work, expect_close
from benchmarks.workloads import CATALOGUES, Catalogue
from socialrec_jax.models.embedding_tables import in_number_order
from socialrec_jax.runtime import parallel
from socialrec_jax.training import row_adagrad
from socialrec_jax.training.state import adam, initial_state, update_state

_RATE, _TOLERANCE = 1e-3, 2e-2  # the tolerance is of the first update against its formula


def as_a_whole(name: str) -> Work:
    """Adam's update of a whole table of ids, of which a step touches a few rows: all moments decay,
    all rows move.
    """
    workload = CATALOGUES[name]
    table, ids = table_and_ids(workload)
    optimizer = adam(lambda _: jnp.float32(_RATE))

    def update(state, ids):
        gradient = jax.grad(lambda params: jnp.sum(jnp.tanh(jnp.take(params["ids"], ids, axis=0))))(
            state.params
        )
        return update_state(state, gradient, optimizer, ema_decay=0.995)

    call = jax.jit(update, donate_argnums=0)
    state = call(initial_state({"ids": table}, optimizer), ids)
    touched = ids[:64]
    moved = np.asarray(state.params["ids"][touched]) - table[touched]
    expected = np.full_like(
        moved, -_RATE
    )  # Adam's first step: the rate against the gradient's sign, here +
    return Work(
        call=lambda state: call(state, ids),
        carry=state,
        check=lambda _: expect_close("the first update", moved, expected, _TOLERANCE),
        unit="ids",
        units_per_call=workload.ids,
        bytes=flops.adam_bytes(table.size),
    )


def by_rows(name: str) -> Work:
    """Row-wise Adagrad's update of the same table along the same gradient: the rows that are
    touched, and no others.
    """
    workload = CATALOGUES[name]
    table, ids = table_and_ids(workload)

    def step(state, _, ids):
        found = row_adagrad.look_up(state["table"], ids)
        gradients = jax.grad(lambda rows: jnp.sum(jnp.tanh(rows[found.places])))(found.rows)
        moved = row_adagrad.update_rows(
            state["table"], found, gradients, jnp.float32(1), jnp.float32(_RATE)
        )
        return {"table": moved}, found.lost

    steps = parallel.scan_steps(step, axes={"table": 0})
    sent = ids.reshape(parallel.num_local_devices(), 1, -1)
    state, lost = steps({"table": parallel.as_shares(row_adagrad.of_parameter(table))}, sent)
    devices = parallel.num_devices()
    touched, visits = np.unique(ids, return_counts=True)
    updated = in_number_order(
        np.asarray(state["table"].rows).reshape(-1, workload.width), len(table)
    )
    moved = updated[touched] - table[touched]
    gradients = visits[:, None] * (1 - np.tanh(table[touched]) ** 2)
    expected = -_RATE * gradients / np.sqrt(np.mean(gradients**2, axis=1, keepdims=True))
    return Work(
        call=lambda carry: steps(carry[0], sent),
        carry=(state, lost),
        check=lambda _: expect_close("the first update", moved, expected, _TOLERANCE),
        unit="ids",
        units_per_call=workload.ids,
        bytes=flops.row_bytes(len(touched), workload.width),
        network_bytes=flops.exchange_bytes(len(touched) // devices, workload.width, devices),
        devices=devices,
    )


def table_and_ids(workload: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """A table [V, D] and the ids [N] that a step looks up, all alike likely."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, workload.items, workload.ids, np.int32)
    return rng.normal(size=(workload.items, workload.width)).astype(np.float32), ids
