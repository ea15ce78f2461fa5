"""The training loop of every stage: resume, step, report, validate, keep the best, stop early.

Everything that decides the future (step, best so far, patience) is in the checkpoint, and every
batch is a function of (seed, step): a run that was killed ends with the same bits as one that was
not. With several processes, process 0 validates, and its signals count; the others follow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from socialrec_jax.config import SELECT_BY, Config
from socialrec_jax.errors import INTERRUPTED, TERMINATED, TrainingDiverged
from socialrec_jax.runtime import background, parallel, processes
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.metric_writer import MetricWriter
from socialrec_jax.runtime.progress import ProgressBar
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.signals import SignalWatch
from socialrec_jax.runtime.stall import StallWatch
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training.guard import (
    RATE_OPTION,
    SkippedSteps,
    StepReport,
    limits_of,
)
from socialrec_jax.training.progress import CallTimer, StageProgress
from socialrec_jax.training.saver import Saver
from socialrec_jax.training.state import TrainState

# The `run` of an evaluator: metrics of the parameters that a state would serve.
Validate = Callable[[dict], dict[str, float]]


class Trainer(Protocol):
    """A model in training: builds the state and the compiled call."""

    @property
    def config(self) -> Config: ...
    @property
    def num_steps(self) -> int: ...
    @property
    def schedule(self) -> Callable[[Any], Any]: ...
    def init(self, example: Any, /) -> TrainState: ...
    def compile_guarded(self) -> Callable: ...


class Batches(Protocol):
    """Training data: a pytree of rows for each step."""

    @property
    def targets_per_epoch(self) -> int: ...
    @property
    def steps_per_epoch(self) -> int: ...
    def at(self, step: int, process: int = 0, num_processes: int = 1) -> Any: ...


class Stopped(Exception):
    """Training stopped at a signal; the state is saved."""

    def __init__(self, signum: int):
        self.code = TERMINATED if signum == signal.SIGTERM else INTERRUPTED
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name} after saving; the same command goes on from here")


def fit(
    run: RunDirectory,
    stage: str,
    trainer: Trainer,
    batches: Batches,
    validate: Validate | None,
    about: dict | None = None,
    rate_option: str = RATE_OPTION,
) -> tuple[TrainState, StageProgress]:
    """Train a stage to its end, from wherever run stands, and return its best state.

    validate gives metrics; the best SELECT_BY is kept. Without it the stage runs all its steps and
    the last state is the best. about: see Checkpoints. rate_option: what lowers the learning rate.

    Raises Stopped after a signal, and TrainingDiverged where steps in a row cannot be learnt from.
    """
    checkpoints = Checkpoints(run.checkpoints / stage, about)
    # A restored state takes the layout on devices from the initial one.
    state, progress = _resume(checkpoints, trainer.init(batches.at(0)))
    if not progress.finished:
        with (
            contextlib.closing(MetricWriter(run, stage, int(state.step))) as metric_writer,
            Saver(checkpoints) as saver,
        ):
            loop = _Loop(
                *(stage, trainer, batches, validate, saver, metric_writer, progress),
                skipped=SkippedSteps(run, stage, trainer.config),
                rate_option=rate_option,
            )
            state = loop.run(state)
    # The last step is often not the best.
    if progress.best_step != int(state.step):
        best = checkpoints.restore(state, progress.best_step)
        state = best[0] if best else state
    return state, progress


def _resume(checkpoints: Checkpoints, state: TrainState) -> tuple[TrainState, StageProgress]:
    """The newest saved state and its progress, or the given one."""
    restored = checkpoints.restore(state)
    if restored is None:
        return state, StageProgress()
    if not _is_finite(restored[0]):  # older programs saved such states
        checkpoints.delete_newest("a number in it is not finite")
        return _resume(checkpoints, state)
    state, progress = restored[0], StageProgress(**restored[1])
    if progress.best_step not in checkpoints.steps():
        # It was deleted for a better one, which is damaged.
        progress.best_step, progress.best_value = 0, -1.0
    return state, progress


def _is_finite(state: TrainState) -> bool:
    """Whether all numbers of a state are finite; tables are read where they are no shards."""
    numbers = parallel.on_host((state.params, state.average, state.opt_state))
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(numbers))


@dataclasses.dataclass
class _Loop:
    """The remaining steps of a stage."""

    stage: str
    trainer: Trainer
    batches: Batches
    validate: Validate | None
    saver: Saver
    metric_writer: MetricWriter
    progress: StageProgress
    skipped: SkippedSteps
    rate_option: str = RATE_OPTION

    def run(self, state: TrainState) -> TrainState:
        """Call by call, until the last step, patience or a signal ends it; every validation is
        followed by a checkpoint.
        """
        t, step, last = self.trainer.config.train, int(state.step), self.trainer.num_steps
        every = evaluation_interval(last, t.evaluations, t.steps_per_call)
        steps = calls(self.batches, step, last, t.steps_per_call, parallel.process())
        call, timer = self.trainer.compile_guarded(), CallTimer(self.progress)
        # An accelerator gets the next call before the host waits for this one. Limits on spikes
        # follow from all calls before.
        most_in_flight = 1 if parallel.has_accelerator() and not t.spike_deviations else 0
        in_flight: deque[tuple[int, StepReport]] = deque()
        with (
            SignalWatch() as signals,
            StallWatch(self.stage) as stall_watch,
            ProgressBar(self.stage, last, step) as progress_bar,
        ):
            for batch in background.prefetch(steps):
                limits = limits_of(self.progress.recent, t.spike_deviations)
                state, report = call(state, batch, limits)
                step += t.steps_per_call
                in_flight.append((step, report))
                is_end = step % every == 0 or step >= last  # of an interval
                self._report(in_flight, 0 if is_end else most_in_flight, timer, progress_bar)
                stall_watch.pause()
                validating = is_end and self._is_due(step)
                if validating:
                    self._validate(step, state, progress_bar)
                received = _signal_of_main(signals)
                if validating or received:
                    self._report(in_flight, 0, timer, progress_bar)
                    self._save(step, state)
                if received:
                    raise Stopped(received)
                if self.progress.finished:
                    break
                if validating:
                    timer.restart()
                # Not before the first call: compiling may take long.
                stall_watch.resume()
        return state

    def _is_due(self, step: int) -> bool:
        """Whether a validation and a checkpoint are due at the end of an interval.

        None while steps are skipped: what led there may lie in the parameters already.
        """
        return step >= self.trainer.num_steps or not self.progress.skipped_in_a_row

    def _report(
        self,
        in_flight: deque[tuple[int, StepReport]],
        left: int,
        timer: CallTimer,
        progress_bar: ProgressBar,
    ) -> None:
        """Wait for the oldest calls until so many are left, and log each."""
        events_per_step = self.batches.targets_per_epoch / self.batches.steps_per_epoch
        events = events_per_step * self.trainer.config.train.steps_per_call
        while len(in_flight) > left:
            step, report = in_flight.popleft()
            report = parallel.on_host(report)
            timer.stop(events)
            self._log(step, report, timer.events_per_second, progress_bar)

    def _log(
        self, step: int, report: StepReport, events_per_second: float, progress_bar: ProgressBar
    ) -> None:
        """Log a call that is done. Raises TrainingDiverged where steps in a row were skipped."""
        self.progress.steps = step
        first_step = step - self.trainer.config.train.steps_per_call
        try:
            self.skipped.add(self.progress, first_step, report)
        except TrainingDiverged as error:
            raise self._diverged(step, str(error)) from None
        losses = np.asarray(report.loss)[~np.asarray(report.is_skipped)]
        if not len(losses):
            return
        loss = float(np.mean(losses))
        progress_bar.advance(step, loss, events_per_second)
        self.metric_writer.write(
            step,
            loss=loss,
            events_per_second=events_per_second,
            learning_rate=float(self.trainer.schedule(step)),
        )

    def _check_finite(self, step: int, state: TrainState) -> None:
        """Raise TrainingDiverged where a number is not finite: such a state is never saved."""
        if not _is_finite(state):
            raise self._diverged(step, "a parameter is not finite")

    def _diverged(self, step: int, problem: str) -> TrainingDiverged:
        self.saver.wait()
        steps = self.saver.checkpoints.steps()
        kept = f"step {steps[-1]}" if steps else "the stage's beginning"
        return TrainingDiverged(
            f"{self.stage}: {problem} at step {step}; the same command with a lower "
            f"{self.rate_option} goes on from {kept}"
        )

    def _validate(self, step: int, state: TrainState, progress_bar: ProgressBar) -> None:
        """Validate, and update the best step, the patience and whether the stage is finished."""
        self._check_finite(step, state)
        progress, validate = self.progress, self.validate
        progress.finished = step >= self.trainer.num_steps
        if validate is None:
            progress.best_step = step
            return
        served = state.served  # outside of the lambda: all processes must call it
        metrics = processes.broadcast_from_main(lambda: validate(served))
        logged = {f"validation_{name}": value for name, value in metrics.items()}
        self.metric_writer.write(step, **logged)
        progress_bar.validated(step, metrics)

        if metrics[SELECT_BY] > progress.best_value:
            progress.best_step, progress.best_value = step, metrics[SELECT_BY]
            progress.worse_in_a_row = 0
        else:
            progress.worse_in_a_row += 1
        progress.finished |= progress.worse_in_a_row >= self.trainer.config.train.patience

    def _save(self, step: int, state: TrainState) -> None:
        self._check_finite(step, state)
        progress = dataclasses.asdict(self.progress)
        self.saver.save(step, state, progress, keep={self.progress.best_step})
        timeline.save()


def evaluation_interval(num_steps: int, evaluations: int, steps_per_call: int) -> int:
    """Steps between validations: whole calls, for about `evaluations` of them."""
    return max(1, round(num_steps / evaluations / steps_per_call)) * steps_per_call


def whole_calls(steps: int, steps_per_call: int) -> int:
    """The nearest number of steps that whole calls make, at least one call."""
    return max(1, round(steps / steps_per_call)) * steps_per_call


def calls(
    batches: Batches, begin: int, end: int, steps_per_call: int, process: tuple[int, int]
) -> Iterator[Any]:
    """Batches [P, K, B, ...] of the calls from step begin to end."""
    for first in range(begin, end, steps_per_call):
        steps = range(first, first + steps_per_call)
        split = [parallel.split_over_devices(batches.at(step, *process)) for step in steps]
        # Devices first, then steps: each device scans over its own K.
        yield jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *split)


def _signal_of_main(signals: SignalWatch) -> int:
    """The signal that process 0 has received, on all processes: they stop together."""
    return processes.broadcast_from_main(lambda: signals.received)
