"""What a suite gives to the runner: cases, each a question with a name, and the work that answers
it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class Wrong(Exception):
    """The timed code computes something else than the reference."""


class NotRun(Exception):
    """There is nothing to measure, and why."""


@dataclasses.dataclass
class Work:
    """Ready to be timed: `call(carry) -> carry`. check(carry) raises Wrong; it sees what the last
    call returned.
    """

    call: Callable[[Any], Any]
    carry: Any
    check: Callable[[Any], None]
    unit: str
    units_per_call: float
    padding_share: float | None = None
    flops: float | None = None
    bytes: float | None = None
    network_bytes: float | None = None  # that each device sends
    dtype: str = "float32"
    devices: int = 1
    on_host: bool = False  # files and numpy: no device's ceiling applies
    peak_memory: Callable[[], int | None] | None = (
        None  # bytes, where the work is done in another process
    )
    wait_share: Callable[[], float] | None = None
    close: Callable[[], None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the result. Cases of one group are measured in turn, so that they may be compared
    with each other.
    """

    name: str
    preset: str
    prepare: Callable[[], Work]
    group: str = ""


def expect_close(name: str, found: Any, expected: Any, tolerance: float) -> None:
    """Raise Wrong unless all leaves agree, relative to the largest expected value of each."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        scale = max(float(np.max(np.abs(other), initial=0)), 1e-30)
        error = float(np.max(np.abs(one - other), initial=0)) / scale
        if not error <= tolerance:  # also what is not a number
            raise Wrong(
                f"{name} differs from the reference by {error:.2g} of its size, {tolerance:.2g} is allowed"
            )
