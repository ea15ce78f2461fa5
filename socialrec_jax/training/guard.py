"""Steps that must not change the model: a loss or gradient that is not finite, and spikes.

The compiled step decides by itself (`checked`), and keeps weights, averages and the optimiser's
state as they are (`update_state`). So the host waits for nothing more than the losses.

Spikes: loss and gradient norm of the last steps give a median and a deviation (1.4826 times the
median absolute deviation, which is a normal distribution's standard deviation and which outliers
do not change). A step above the median by more than `train.spike_deviations` of them is skipped.
The limits are arguments of the call; without the setting they are infinite.

Source of skipping spikes by median and deviation: Hampel's identifier (Hampel 1974).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from socialrec_jax.config import Config
from socialrec_jax.errors import TrainingDiverged
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.shapes import Array
from socialrec_jax.training.state import TrainState

log = logging.getLogger(__name__)
RATE_OPTION = "--train.learning-rate"
MOST_IN_A_ROW = 10  # skipped steps: a model that no batch can teach has diverged
_RECENT = 256  # steps that give median and deviation
_LEAST_RECENT = 64
_NORMAL = 1.4826  # standard deviation of a normal distribution over its median deviation
_LEAST_DEVIATION = 0.01  # of the median: losses may be nearly constant
_LOST_ROWS = "%s: %d table rows found no room in messages and were not learnt: use fewer devices"


class Limits(NamedTuple):
    """What a step's loss and gradient norm may be at most."""

    loss: np.float32
    gradient_norm: np.float32


NO_LIMITS = Limits(np.float32(np.inf), np.float32(np.inf))


class StepReport(NamedTuple):
    """What is known of a step; [K] for a call of K steps."""

    loss: Array
    gradient_norm: Array
    is_skipped: Array
    lost_rows: Array | int = 0  # of big tables: they found no room in messages, see `row_adagrad`


# ---- Inside a compiled step


def checked(loss: Array, gradients: Any, limits: Limits, is_finite: Array | bool = True):
    """The StepReport of a loss and the gradients of the dense parameters, all summed over devices.

    is_finite: False where other gradients are not.
    """
    norm = optax.tree.norm(gradients)
    # An overflow of the norm's squares counts, too: Adam would square the gradients itself.
    is_usable = jnp.isfinite(loss) & jnp.isfinite(norm) & is_finite
    is_usable &= (loss <= limits.loss) & (norm <= limits.gradient_norm)
    return StepReport(loss, norm, ~is_usable)


# ---- Calls on the host


class GuardedSteps:
    """(state, batches, limits) -> (state, outputs), of `parallel.compiled_steps` whose step gets
    (shared, limits).
    """

    def __init__(self, steps: parallel.Steps, shared: Any):
        self._steps, self._shared = steps, parallel.replicate(shared)
        self._limits, self._placed_limits = NO_LIMITS, parallel.replicate(NO_LIMITS)

    def __call__(self, state: TrainState, batches: Any, limits: Limits = NO_LIMITS) -> Any:
        # Placing costs a transfer, and limits seldom change.
        if limits != self._limits:
            self._limits, self._placed_limits = limits, parallel.replicate(limits)
        return self._steps(state, (self._shared, self._placed_limits), batches)

    def compile(self, state: TrainState, batches: Any) -> None:
        """Compile the call for such arguments, and run nothing."""
        self._steps.compile(state, (self._shared, self._placed_limits), batches)


def losses_only(call: Callable) -> Callable:
    """The call (state, batches) -> (state, losses [K]), without limits."""

    def call_without_report(state: TrainState, batches: Any):
        state, report = call(state, batches)
        return state, report.loss

    return call_without_report


def limits_of(recent: list[list[float]], deviations: float) -> Limits:
    """The limits that follow from the recent steps' (loss, gradient norm); none at first."""
    if not deviations or len(recent) < _LEAST_RECENT:
        return NO_LIMITS
    values = np.array(recent)
    median = np.median(values, 0)
    deviation = _NORMAL * np.median(np.abs(values - median), 0)
    deviation = np.maximum(deviation, _LEAST_DEVIATION * np.abs(median))
    loss, norm = (median + deviations * deviation).astype(np.float32)
    return Limits(loss, norm)


class SkippedSteps:
    """Counts the skipped steps of a stage, and writes them to RUN/bad_steps.jsonl; warns of rows
    that were lost.
    """

    def __init__(self, run: RunDirectory, stage: str, config: Config):
        self.run, self.stage, self.config = run, stage, config

    def add(self, progress: Any, first_step: int, report: StepReport) -> None:
        """Count the steps of a call in a StageProgress. TrainingDiverged where too many steps in a
        row were skipped.
        """
        # The report is on its way to the host anyway: the progress shows its losses.
        *seen, lost_rows = (np.asarray(part) for part in report)
        if lost_rows.any():
            log.warning(_LOST_ROWS, self.stage, lost_rows.sum())
        rows = zip(*(part.tolist() for part in seen), strict=True)
        for step, (loss, norm, is_skipped) in enumerate(rows, first_step):
            progress.skipped_in_a_row = progress.skipped_in_a_row + 1 if is_skipped else 0
            if is_skipped:
                self._write(progress, step, loss, norm)
            elif self.config.train.spike_deviations:
                progress.recent = [*progress.recent, [loss, norm]][-_RECENT:]
            # Batches differ: when so many fail in a row, the parameters are to blame.
            if progress.skipped_in_a_row >= MOST_IN_A_ROW:
                raise TrainingDiverged(f"{MOST_IN_A_ROW} steps in a row had {_why(loss, norm)}")

    def _write(self, progress: Any, step: int, loss: float, norm: float) -> None:
        progress.skipped += 1
        if not processes.is_main():
            return
        if progress.skipped == 1:
            line = "%s: step %d had %s and changed nothing; all such steps: %s"
            log.warning(line, self.stage, step, _why(loss, norm), self.run.bad_steps)
        numbers = {"loss": _as_json(loss), "gradient_norm": _as_json(norm)}
        entry = {"stage": self.stage, "seed": self.config.seed, "step": step, **numbers}
        with self.run.bad_steps.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def _as_json(number: float) -> float | str:
    """JSON knows no number that is not finite."""
    return number if np.isfinite(number) else str(number)


def _why(loss: float, norm: float) -> str:
    if np.isfinite(loss) and np.isfinite(norm):
        return f"a loss of {loss:.4g} and a gradient of norm {norm:.4g}, a spike"
    return f"a loss or gradient that is not finite (loss {loss:.4g}, norm {norm:.4g})"
