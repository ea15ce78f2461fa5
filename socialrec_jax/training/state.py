"""What a training carries from step to step, and how one optimiser step changes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from socialrec_jax.models.embedding_tables import put_in
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array, Ints


class TrainState(struct.PyTreeNode):
    """Everything that a step changes; the same on all devices but for tables, which are split by
    rows.
    """

    step: Ints[Array, ""]
    params: dict
    average: dict  # exponential moving average of params: what is evaluated and served
    opt_state: optax.OptState
    tables: dict = struct.field(
        default_factory=dict
    )  # row_adagrad.Table by name; their parameters are nowhere else

    @property
    def served(self) -> dict:
        """What is evaluated and served: averages, and tables as they are, since an average would
        touch every row.

        All processes must ask, since each holds a part of the tables.
        """
        return put_in(self.average, {name: table.parameter for name, table in self.tables.items()})


_WHOLE: Any = None


_SPLIT: Any = 0


_AXES = TrainState(_WHOLE, _WHOLE, _WHOLE, _WHOLE, _SPLIT)  # see parallel.scan_steps


def warmup_cosine(peak: float, num_steps: int, warmup_share: float) -> optax.Schedule:
    """The learning rate of each of num_steps: linear up to the peak, then half a cosine down to
    zero.
    """
    warmup = max(1, int(num_steps * warmup_share))
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(num_steps, warmup + 1))


def adam(schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.adam(schedule, b1=0.9, b2=0.98)


def initial_state(params: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, on all local devices."""
    state = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))
    return parallel.replicate(jax.tree.map(np.asarray, state))


def update_state(
    state: TrainState, gradients: dict, optimizer: optax.GradientTransformation, ema_decay: float
) -> TrainState:
    """The state after one step along gradients; the average starts faster than ema_decay, or it
    would keep the init.
    """
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(jnp.add, state.params, updates)
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
    average = jax.tree.map(lambda new, old: old + (1 - decay) * (new - old), params, state.average)
    return state.replace(step=state.step + 1, params=params, average=average, opt_state=opt_state)


def summed_over_parts(function: Callable, params: Any, rows: Any, parts: int) -> Any:
    """function(params, rows [B, ...]), which is a sum over rows, in so many parts of equal size,
    one after the other.

    Only one part's activations exist at a time; the sums are those of the whole but for the order
    of addition.
    """
    if parts == 1:
        return function(params, rows)
    rows = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), rows)
    zeros = jax.tree.map(
        jnp.zeros_like, jax.eval_shape(function, params, jax.tree.map(lambda leaf: leaf[0], rows))
    )
    return jax.lax.scan(
        lambda sums, part: (jax.tree.map(jnp.add, sums, function(params, part)), None), zeros, rows
    )[0]
