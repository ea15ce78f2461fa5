"""Honest seconds: compilation apart, two calls to warm up, cases in turn, outputs carried into the
next call's inputs.

JAX returns before the work is done and drops what nobody reads; so a call's outputs are the next
call's inputs, all of them are waited for, and the clock stops only then.
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
    """What JAX spent before running, as JAX itself counts it."""

    trace_seconds: float = 0.0
    lower_seconds: float = 0.0
    compile_seconds: float = 0.0
    count: int = 0


@contextlib.contextmanager
def compilations() -> Iterator[Compilations]:
    """Counts what is compiled inside the block."""
    found = Compilations()

    def note(event: str, duration_secs: float, **_: str | int) -> None:
        if name := _EVENTS.get(event):
            setattr(found, name, getattr(found, name) + duration_secs)
            found.count += name == "compile_seconds"

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


@dataclasses.dataclass
class Clocked:
    """One case in the rounds: call takes what it returned last."""

    call: Callable[[Any], Any]
    carry: Any
    seconds: list[float] = dataclasses.field(default_factory=list)

    def warm_up(self) -> None:
        """Twice: a first call may leave its outputs in another layout, and then the second compiles
        again.
        """
        for _ in range(2):
            self.carry = jax.block_until_ready(self.call(self.carry))

    def once(self) -> None:
        began = time.perf_counter()
        self.carry = jax.block_until_ready(self.call(self.carry))
        self.seconds.append(time.perf_counter() - began)


def yardstick() -> float:
    """Seconds of a fixed piece of work that no change of ours can touch: what the machine was worth
    just then.
    """
    began = time.perf_counter()
    x = _SQUARE
    for _ in range(4):
        x = np.tanh(x @ _SQUARE)
    return time.perf_counter() - began


_SQUARE = np.random.default_rng(0).normal(0, 0.05, (384, 384)).astype(np.float32)


def rounds(
    cases: Sequence[Clocked], min_rounds: int, max_rounds: int, budget_seconds: float
) -> list[float]:
    """Time all cases in turn, each round in another order; the yardstick's seconds of each round.

    Stops after max_rounds, or after min_rounds once budget_seconds are over.
    """
    order, rng, measured = list(cases), random.Random(0), []
    yardstick()
    began = time.perf_counter()
    while len(measured) < min_rounds or (
        len(measured) < max_rounds and time.perf_counter() - began < budget_seconds
    ):
        rng.shuffle(order)
        before = yardstick()
        for case in order:
            case.once()
        measured.append((before + yardstick()) / 2)
    return measured
