"""The state that a training carries from step to step, and how one optimiser step changes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from socialrec_jax.models.embedding_tables import merge_tables
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array, Ints

_EPSILON = 1e-8  # of Adam, as optax has it


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


class WarmupCosine(NamedTuple):
    """A learning rate: linear from zero up to the peak, then half a cosine down to zero.

    A compiled step gets it as an argument, so that trainings of any length share one program.
    """

    peak: np.float32
    warmup: np.float32  # steps
    end: np.float32  # the step at which the rate is zero

    def __call__(self, step: Any) -> Any:
        """The rate at a step: a number on the host, an array inside a compiled step."""
        xp = jnp if isinstance(step, jax.Array) else np
        progress = (step - self.warmup) / (self.end - self.warmup)
        cosine = 0.5 * (1 + xp.cos(np.float32(np.pi) * xp.clip(progress, 0, 1)))
        return self.peak * xp.where(step < self.warmup, step / self.warmup, cosine)


def warmup_cosine(peak: float, num_steps: int, warmup_share: float) -> WarmupCosine:
    """The learning rate of each of num_steps."""
    warmup = max(1, int(num_steps * warmup_share))
    end = max(num_steps, warmup + 1)
    return WarmupCosine(np.float32(peak), np.float32(warmup), np.float32(end))


def adam(
    schedule: Callable, b1: float = 0.9, b2: float = 0.98, *decay: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """`optax.adam`, or `optax.adamw` with a decay of weights; by default with SASRec's moments.

    `update` also gets is_skipped: where it is true, the optimiser's state stays as it is, and the
    updates mean nothing.

    Sources: Kingma and Ba 2015; Loshchilov and Hutter 2019 for the decay.
    """
    rate = _skippable(optax.scale_by_learning_rate(schedule))
    return optax.chain(_scale_by_adam(b1, b2), *decay, rate)


def _scale_by_adam(b1: float, b2: float) -> optax.GradientTransformationExtraArgs:
    """`optax.scale_by_adam` for steps that may be skipped.

    The moments are chosen before the updates follow from them. Chosen after, XLA computes Adam
    twice and copies the old moments (docs/results/reliability.md).
    """

    def update(updates, state, params=None, **extra):
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        new = _kept(optax.ScaleByAdamState(count, mu, nu), state, extra["is_skipped"])
        mean = optax.tree.bias_correction(new.mu, b1, count)
        square = optax.tree.bias_correction(new.nu, b2, count)
        return jax.tree.map(lambda m, s: m / (jnp.sqrt(s) + _EPSILON), mean, square), new

    return optax.GradientTransformationExtraArgs(optax.scale_by_adam().init, update)


def _skippable(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The same transformation, whose state stays as it is where a step is skipped."""

    def update(updates, state, params=None, **extra):
        updates, new = inner.update(updates, state, params)
        return updates, _kept(new, state, extra["is_skipped"])

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _kept(new: Any, old: Any, is_skipped: Array | bool) -> Any:
    """The new numbers, or the old ones where the step is skipped."""
    # A choice of numbers, not of programs: `lax.cond` is no faster.
    return jax.tree.map(lambda n, o: jnp.where(is_skipped, o, n), new, old)


def drawn(init: Callable, seed: int, *arguments: Any) -> dict:
    """The parameters that init(key, *arguments), a compiled function, draws; on the host.

    On one H100, compiling such programs took 12 of the 58 seconds that a cold run compiled.
    """
    with parallel.on_host_cores():
        return parallel.on_host(init(jax.random.key(seed), *arguments)["params"])


def initial_state(params: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, on all local devices.

    The optimiser's state must be zeros at first, as that of Adam is: then nothing compiles for it.
    """
    zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(optimizer.init, params)
    )
    # By way of the host: params and average must not share buffers that a step donates.
    params = parallel.on_host(params)
    state = TrainState(np.zeros((), np.int32), params, params, zeros)
    return parallel.replicate(state)


def update_state(
    state: TrainState,
    gradients: dict,
    optimizer: optax.GradientTransformationExtraArgs,
    ema_decay: float,
    is_skipped: Array | bool = False,
) -> TrainState:
    """The state after one optimiser step, or the same state at the next step where it is skipped.

    The average decays faster than ema_decay at first, or it would keep the initial values for long.
    """
    updates, opt_state = optimizer.update(
        gradients, state.opt_state, state.params, is_skipped=is_skipped
    )
    params = jax.tree.map(jnp.add, state.params, updates)
    params = _kept(params, state.params, is_skipped)
    # 0.1 at the first step, 0.99 at the thousandth.
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))

    def towards(new, old):
        return old + (1 - decay) * (new - old)

    average = jax.tree.map(towards, params, state.average)
    average = _kept(average, state.average, is_skipped)
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
