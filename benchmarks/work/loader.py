"""The loader alone, and the loader with the step, as training runs them."""

from __future__ import annotations

import dataclasses
import itertools
import time
from typing import Any

import jax
import numpy as np

from benchmarks.harness.cases import Work, WrongResult
from benchmarks.harness.workloads import SEQUENCES, Sequences
from benchmarks.work import steps
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.runtime import background, parallel
from socialrec_jax.training.device_data import DeviceBatches
from socialrec_jax.training.state import TrainState

FRIENDS = 10  # of each user: friends are what costs a loader most
_WARM_UP = 2  # calls


def batches_alone(name: str) -> Work:
    """Batches of successive steps, made on the host in the calling thread."""
    batches = _with_friends(name).batches()

    def check(_) -> None:
        epoch = range(batches.steps_per_epoch)
        # Each event but the first of a user is a target once.
        targets = sum(float(batches.at(step).weights.sum()) for step in epoch)
        if targets != batches.targets_per_epoch:
            raise WrongResult(
                f"an epoch has {targets:.0f} targets, not {batches.targets_per_epoch}"
            )

    return _host_work(batches, batches, check)


def indices_alone(name: str) -> Work:
    """What the host sends of each step where the events lie on the device: which event goes
    where.
    """
    batches = _with_friends(name).batches()
    device_batches = DeviceBatches(batches)

    def check(_) -> None:
        epoch = range(batches.steps_per_epoch)
        events = sum(steps.num_events(device_batches.at(step)) for step in epoch)
        if events != batches.targets_per_epoch:
            raise WrongResult(f"an epoch has {events} events, not {batches.targets_per_epoch}")

    return _host_work(batches, device_batches, check)


def _host_work(batches: TrainingBatches, timed: Any, check: Any) -> Work:
    """Work of timed.at(0), timed.at(1), ..."""

    def call(step: int) -> int:
        timed.at(step)
        return step + 1

    return Work(
        call=call,
        carry=0,
        check=check,
        unit="events",
        units_per_call=_events_per_step(batches),
        padding_share=1 - batches.fill_share,
        on_host=True,
    )


def with_step(name: str) -> Work:
    """As in training: a thread makes the next batch while the devices work on this one."""
    workload = _with_friends(name)
    batches = workload.batches()
    # The step reads the friends too, as in training.
    trainer = steps.trainer_of(workload, batches.item_counts(workload.items))
    state, step = trainer.init(batches.at(0)), trainer.compile()
    supply = _TimedSupply(_prefetched(batches))

    def call(carry):
        with supply.total:
            batch = supply.next()
            # The wait's share is of whole calls, so a call must end before its clock does.
            return jax.block_until_ready(step(carry[0], batch))

    return Work(
        call=call,
        carry=(state, None),
        check=lambda carry: _check_steps(*carry, num_calls=len(supply.total.seconds)),
        unit="events",
        units_per_call=_events_per_step(batches),
        padding_share=1 - batches.fill_share,
        dtype=workload.dtype,
        devices=parallel.num_devices(),
        wait_share=supply.wait_share,
        close=supply.close,
    )


def _prefetched(batches: TrainingBatches) -> Any:
    """Batches of successive steps without end."""
    calls = (steps.as_call(batches.at(number)) for number in itertools.count())
    return background.prefetch(calls)


def _check_steps(state: TrainState, losses: Any, num_calls: int) -> None:
    if not np.isfinite(np.asarray(losses)).all():
        raise WrongResult("the last loss is not finite")
    if int(state.step) != num_calls:
        raise WrongResult(f"{num_calls} calls made {int(state.step)} steps")


class _Stopwatch:
    """Seconds of each block that it was around."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self._start)


class _TimedSupply:
    """Batches, and how long each was waited for."""

    def __init__(self, batches: Any):
        self._batches = batches
        self.waiting, self.total = _Stopwatch(), _Stopwatch()

    def next(self) -> Any:
        with self.waiting:
            return next(self._batches)

    def wait_share(self) -> float:
        """Of the whole calls' time, warm-up left out."""
        waited = sum(self.waiting.seconds[_WARM_UP:])
        return waited / sum(self.total.seconds[_WARM_UP:])

    # Ends the prefetch thread.
    def close(self) -> None:
        self._batches.close()


def _with_friends(name: str) -> Sequences:
    return dataclasses.replace(SEQUENCES[name], friends=FRIENDS)


def _events_per_step(batches: TrainingBatches) -> float:
    return batches.targets_per_epoch / batches.steps_per_epoch
