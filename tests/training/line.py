"""The smallest training: a vector learns to be the mean of its rows."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.config import Config, TrainConfig
from socialrec_jax.runtime import parallel
from socialrec_jax.training import guard
from socialrec_jax.training.state import (
    TrainState,
    adam,
    initial_state,
    update_state,
    warmup_cosine,
)

STEPS, EVERY = 48, 16  # steps a validation
CONFIG = Config(train=TrainConfig(steps_per_call=4, evaluations=STEPS // EVERY))


@dataclasses.dataclass(frozen=True)
class LineTrainer:
    """Learns w from rows x by the loss of w - x; every step is guarded as those of the models."""

    config: Config = CONFIG
    num_steps: int = STEPS

    @property
    def schedule(self):
        return warmup_cosine(self.config.train.learning_rate, self.num_steps, 0.1)

    def init(self, _):
        return initial_state({"w": np.zeros(3, np.float32)}, adam(self.schedule))

    def compile_guarded(self):
        return guard.GuardedSteps(parallel.compiled_steps(_step), self.schedule)


def _step(state: TrainState, shared: tuple, rows):
    schedule, limits = shared
    loss, gradient = jax.value_and_grad(lambda p: jnp.sum((p["w"] - rows[0]) ** 2))(state.params)
    loss, gradient = parallel.sum_over_devices((loss, gradient))
    report = guard.checked(loss, gradient, limits)
    state = update_state(state, gradient, adam(schedule), 0.9, report.is_skipped)
    return state, report


@dataclasses.dataclass(frozen=True)
class Rows:
    """Ones, and other numbers at some steps."""

    others: dict[int, float]
    targets_per_epoch: int = 1
    steps_per_epoch: int = 1

    def at(self, step: int, process: int = 0, num_processes: int = 1):
        value = self.others.get(step, 1 + 0.01 * np.sin(step))
        return np.full((parallel.num_local_devices(), 3), value, np.float32)


def weights(state: TrainState) -> list[bytes]:
    parts = (state.params, state.average, state.opt_state)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(parts)]
