"""The state that a training carries from step to step, and how one optimiser step changes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from socialrec_jax.models.embedding_tables import merge_tables
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array, Ints


class TrainState(struct.PyTreeNode):
    """Everything that a step changes; the same on all devices but for tables, which are split by
    rows.
    """

    step: Ints[Array, ""]
    params: dict
    average: dict  # exponential moving average of params: evaluated and served
    opt_state: optax.OptState
    # row_adagrad.Table by name. Their rows are in neither params nor average.
    tables: dict = struct.field(default_factory=dict)

    @property
    def served(self) -> dict:
        """The parameters that are evaluated and served: the averages, and tables as they are (an
        average would touch every row).

        All processes must call it together, since each holds a part of the tables.
        """
        tables = {name: table.parameter for name, table in self.tables.items()}
        return merge_tables(self.average, tables)


_REPLICATED: Any = None
_SPLIT: Any = 0

# A prefix of the state for `parallel.scan_steps`.
STATE_AXES = TrainState(
    step=_REPLICATED,
    params=_REPLICATED,
    average=_REPLICATED,
    opt_state=_REPLICATED,
    tables=_SPLIT,
)


def warmup_cosine(peak: float, num_steps: int, warmup_share: float) -> optax.Schedule:
    """The learning rate of each of num_steps: linear up to the peak, then half a cosine down to
    zero.
    """
    warmup = max(1, int(num_steps * warmup_share))
    decay = max(num_steps, warmup + 1)  # optax counts the warm-up in
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, decay)


def adam(schedule: optax.Schedule) -> optax.GradientTransformation:
    # The moments' decays are those of SASRec.
    return optax.adam(schedule, b1=0.9, b2=0.98)


def initial_state(params: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, on all local devices."""
    step = jnp.zeros((), jnp.int32)
    state = TrainState(step, params, params, optimizer.init(params))
    # By way of the host: params and average must not share buffers that a step donates.
    state = jax.tree.map(np.asarray, state)
    return parallel.replicate(state)


def update_state(
    state: TrainState, gradients: dict, optimizer: optax.GradientTransformation, ema_decay: float
) -> TrainState:
    """The state after one optimiser step.

    The average decays faster than ema_decay at first, or it would keep the initial values for long.
    """
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(jnp.add, state.params, updates)
    # 0.1 at the first step, 0.99 at the thousandth.
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))

    def towards(new, old):
        return old + (1 - decay) * (new - old)

    average = jax.tree.map(towards, params, state.average)
    return state.replace(step=state.step + 1, params=params, average=average, opt_state=opt_state)


def accumulate(function: Callable, params: Any, rows: Any, parts: int) -> Any:
    """function(params, rows [B, ...]), a sum over rows, computed in parts of B / parts rows, one
    after the other.

    Only one part's activations exist at a time. The sums differ by the order of addition alone.
    """
    if parts == 1:  # a scan would keep XLA from fusing across it
        return function(params, rows)
    rows = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), rows)
    first_part = jax.tree.map(lambda leaf: leaf[0], rows)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, params, first_part))

    def add_part(sums, part):
        return jax.tree.map(jnp.add, sums, function(params, part)), None

    sums, _ = jax.lax.scan(add_part, zeros, rows)
    return sums
