"""The training loop of one stage: resume, step, report, validate, keep the best, stop early, leave
cleanly.

Everything that decides the future (step, best so far, patience) is in the checkpoint, and every
batch is a function of (seed, step): a run that was killed ends with the same bits as one that was
not. With several processes, process 0 validates, and its signals count; the others follow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from socialrec_jax.config import SELECT_BY, Config
from socialrec_jax.errors import INTERRUPTED, TERMINATED, TrainingDiverged
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.metric_writer import MetricWriter
from socialrec_jax.runtime.progress import ProgressBar
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.state import TrainState

Validate = Callable[[dict], dict[str, float]]


class Trainer(Protocol):
    """What a stage trains: it makes the state and the compiled call."""

    @property
    def config(self) -> Config: ...
    @property
    def num_steps(self) -> int: ...
    @property
    def schedule(self) -> Callable[[Any], Any]: ...
    def init(self, example: Any, /) -> TrainState: ...
    def compile(self) -> Callable: ...


class Batches(Protocol):
    """What it learns from: a pytree of rows for each step."""

    @property
    def targets_per_epoch(self) -> int: ...
    @property
    def steps_per_epoch(self) -> int: ...
    def at(self, step: int, process: int = 0, num_processes: int = 1) -> Any: ...


class Stopped(Exception):
    """A signal asked us to leave; the state is saved."""

    def __init__(self, signum: int):
        self.code = TERMINATED if signum == signal.SIGTERM else INTERRUPTED
        super().__init__(
            f"stopped by {signal.Signals(signum).name} after saving; the same command goes on from here"
        )


@dataclasses.dataclass
class StageProgress:
    """How a stage stands; JSON beside every checkpoint."""

    best_step: int = 0
    best_value: float = -1.0
    worse_in_a_row: int = 0
    finished: bool = False
    steps: int = 0
    events: float = 0.0  # trained in `seconds`
    seconds: float = (
        0.0  # in device calls and waiting for batches, without compilation and validation
    )
    compile_seconds: float = 0.0


def fit(
    run: RunDirectory,
    stage: str,
    trainer: Trainer,
    batches: Batches,
    validate: Validate | None,
    about: dict | None = None,
) -> tuple[TrainState, StageProgress]:
    """Train a stage to its end, from wherever run stands, and return its best state.

    validate: metrics of the parameters that a state would serve; the best SELECT_BY is kept.
    Without it the stage runs all its steps and the last state is the best. about: see Checkpoints.
    Raises Stopped after a signal, TrainingDiverged on a loss that is not finite.
    """
    checkpoints = Checkpoints(run.checkpoints / stage, about)
    state, progress = trainer.init(batches.at(0)), StageProgress()
    restored = checkpoints.restore(state)
    if restored:
        state, progress = restored[0], StageProgress(**restored[1])
        if (
            progress.best_step not in checkpoints.steps()
        ):  # it went when a newer one, damaged since, was better
            progress.best_step, progress.best_value = 0, -1.0
    if not progress.finished:
        with contextlib.closing(MetricWriter(run, stage, int(state.step))) as metric_writer:
            state = _Loop(
                stage, trainer, batches, validate, checkpoints, metric_writer, progress
            ).run(state)
    if progress.best_step != int(state.step):
        state, _ = checkpoints.restore(state, progress.best_step) or (state, {})
    return state, progress


@dataclasses.dataclass
class _Loop:
    """The steps that are left of a stage."""

    stage: str
    trainer: Trainer
    batches: Batches
    validate: Validate | None
    checkpoints: Checkpoints
    metric_writer: MetricWriter
    progress: StageProgress

    def run(self, state: TrainState) -> TrainState:
        """Call by call until the last step, patience or a signal ends it; every validation is also
        a checkpoint.
        """
        t, step, last = self.trainer.config.train, int(state.step), self.trainer.num_steps
        every = evaluation_interval(last, t.evaluations, t.steps_per_call)
        supply = parallel.prefetch(
            calls(self.batches, step, last, t.steps_per_call, parallel.process())
        )
        call, clock = self.trainer.compile(), _Clock(self.progress)
        with _SignalWatch() as signals, ProgressBar(self.stage, last, step) as progress_bar:
            for batch in supply:
                state, losses = call(state, batch)
                step += t.steps_per_call
                self._report(step, float(np.mean(np.asarray(losses))), clock, progress_bar)
                evaluating = step % every == 0 or step >= last
                if evaluating:
                    self._evaluate(step, state, progress_bar)
                received = _agreed(signals)
                if evaluating or received:
                    keep = {self.progress.best_step}
                    self.checkpoints.save(step, state, dataclasses.asdict(self.progress), keep)
                if self.progress.finished:
                    break
                if received:
                    raise Stopped(received)
                clock.restart()
        return state

    def _report(self, step: int, loss: float, clock: _Clock, progress_bar: ProgressBar) -> None:
        events_per_step = self.batches.targets_per_epoch / self.batches.steps_per_epoch
        clock.count(events_per_step * self.trainer.config.train.steps_per_call)
        self.progress.steps = step
        if not np.isfinite(loss):
            raise TrainingDiverged(
                f"{self.stage}: loss is {loss} at step {step}; lower --train.learning-rate"
            )
        progress_bar.advance(step, loss, clock.rate)
        rate = float(np.asarray(self.trainer.schedule(step)))
        self.metric_writer.write(step, loss=loss, events_per_second=clock.rate, learning_rate=rate)

    def _evaluate(self, step: int, state: TrainState, progress_bar: ProgressBar) -> None:
        """Validate, and move the best and the patience accordingly."""
        progress, validate = self.progress, self.validate
        progress.finished = step >= self.trainer.num_steps
        if validate is None:
            progress.best_step = step
            return
        served = state.served  # of all processes
        metrics = processes.broadcast_from_main(lambda: validate(served))
        self.metric_writer.write(
            step, **{f"validation_{name}": value for name, value in metrics.items()}
        )
        progress_bar.validated(step, metrics)
        if metrics[SELECT_BY] > progress.best_value:
            progress.best_step, progress.best_value, progress.worse_in_a_row = (
                step,
                metrics[SELECT_BY],
                0,
            )
        else:
            progress.worse_in_a_row += 1
        progress.finished |= progress.worse_in_a_row >= self.trainer.config.train.patience


def evaluation_interval(num_steps: int, evaluations: int, steps_per_call: int) -> int:
    """Steps between validations: whole calls, about `evaluations` of them."""
    return max(1, round(num_steps / evaluations / steps_per_call)) * steps_per_call


def whole_calls(steps: int, steps_per_call: int) -> int:
    """The nearest number of steps that whole calls make, at least one call."""
    return max(1, round(steps / steps_per_call)) * steps_per_call


def calls(
    batches: Batches, begin: int, end: int, steps_per_call: int, process: tuple[int, int]
) -> Iterator[Any]:
    """Batches [P, K, B, ...] of the calls from step begin to end."""
    for first in range(begin, end, steps_per_call):
        steps = [
            parallel.split_over_devices(batches.at(first + k, *process))
            for k in range(steps_per_call)
        ]
        yield jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *steps)


class _Clock:
    """Adds the time of device calls to the standing; the first call of a process compiles and is
    kept apart.
    """

    def __init__(self, progress: StageProgress):
        self.progress, self.compiled, self.rate = progress, False, 0.0
        self.restart()

    def restart(self) -> None:
        self.began = time.perf_counter()

    def count(self, events: float) -> None:
        """One call on so many events is over. rate: events per second of this call."""
        elapsed = time.perf_counter() - self.began
        self.rate = events / elapsed
        if not self.compiled:
            self.progress.compile_seconds += elapsed
            self.compiled = True
        else:
            self.progress.seconds += elapsed
            self.progress.events += events


def _agreed(signals: _SignalWatch) -> int:
    """The signal that process 0 has received, on all processes: they leave together."""
    return processes.broadcast_from_main(lambda: signals.received)


class _SignalWatch:
    """Remembers SIGTERM and Ctrl-C until the loop is at a place to leave; a second one ends the
    process at once.
    """

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> _SignalWatch:
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)
            }
        return self

    def _note(self, signum: int, _frame) -> None:
        self.received = signum
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
