"""Honest seconds: compilation apart, two calls to warm up, cases in turn, outputs carried into the
next call's inputs.

JAX returns before the work is done, and drops what nobody reads. So a call's outputs are the next
call's inputs, all of them are waited for, and the clock stops only then.

On an accelerator short calls are timed several at once, as training and serving make them: the host
prepares the next one while the device is busy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.monitoring
import numpy as np

_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace_seconds",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower_seconds",
    "/jax/core/compile/backend_compile_duration": "compile_seconds",
}


@dataclasses.dataclass
class Compilations:
    """What JAX spent before running, by JAX's own count."""

    trace_seconds: float = 0.0
    lower_seconds: float = 0.0
    compile_seconds: float = 0.0
    count: int = 0


@contextlib.contextmanager
def compilations() -> Iterator[Compilations]:
    """Counts what is compiled inside the block."""
    total = Compilations()

    def listener(event: str, duration_secs: float, **_: str | int) -> None:
        if name := _EVENTS.get(event):
            setattr(total, name, getattr(total, name) + duration_secs)
            total.count += name == "compile_seconds"

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        yield total
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


# Of calls that are timed at once on an accelerator, and the most of them.
_BURST_SECONDS, _MOST_CALLS = 0.2, 16


@dataclasses.dataclass
class TimedCase:
    """One case in the rounds: call gets what it returned last."""

    call: Callable[[Any], Any]
    carry: Any
    seconds: list[float] = dataclasses.field(default_factory=list)
    calls_at_once: int = 1

    def warm_up(self) -> None:
        """Call twice: a first call may return its outputs in another layout, and then the second
        call compiles again.
        """
        for _ in range(2):
            seconds = self._seconds_of_calls()
        if jax.default_backend() != "cpu":
            self.calls_at_once = max(1, min(_MOST_CALLS, int(_BURST_SECONDS / seconds)))

    def time_call(self) -> None:
        """Adds the seconds of a call: the mean of those at once."""
        self.seconds.append(self._seconds_of_calls() / self.calls_at_once)

    def _seconds_of_calls(self) -> float:
        start = time.perf_counter()
        for _ in range(self.calls_at_once):
            self.carry = self.call(self.carry)
        jax.block_until_ready(self.carry)
        return time.perf_counter() - start


_SQUARE = np.random.default_rng(0).normal(0, 0.05, (384, 384)).astype(np.float32)


def time_calibration_load() -> float:
    """Seconds of a fixed piece of work: how fast the machine was at that moment.

    It is numpy alone, so that no change of this project can change it.
    """
    start = time.perf_counter()
    x = _SQUARE
    for _ in range(4):
        x = np.tanh(x @ _SQUARE)
    return time.perf_counter() - start


def time_in_turn(
    cases: Sequence[TimedCase], min_rounds: int, max_rounds: int, budget_seconds: float
) -> list[float]:
    """Time all cases in turn, each round in another order; returns the seconds of the calibration
    load in each round.

    Stops after max_rounds, or after min_rounds once budget_seconds are over.
    """
    order, rng = list(cases), random.Random(0)
    calibration: list[float] = []
    time_calibration_load()
    start = time.perf_counter()
    while len(calibration) < max(min_rounds, 1) or (
        len(calibration) < max_rounds and time.perf_counter() - start < budget_seconds
    ):
        rng.shuffle(order)
        before = time_calibration_load()
        for case in order:
            case.time_call()
        calibration.append((before + time_calibration_load()) / 2)
    return calibration
