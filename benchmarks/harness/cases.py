"""What a suite gives to the runner: cases, each a question with a name, and the work that answers
it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.harness.schema import Reference


class WrongResult(Exception):
    """The timed code computes something else than its reference."""


class NotRun(Exception):
    """There is nothing to measure, and why."""


@dataclasses.dataclass
class Work:
    """Ready to be timed: `call(carry)` returns the next carry.

    check(carry) gets what the last call returned, and raises WrongResult; it may say what it
    compared. FLOPs and bytes are closed forms of one call, see `flops`; None where there is no
    closed form.
    """

    call: Callable[[Any], Any]
    carry: Any
    check: Callable[[Any], str | None]
    unit: str
    units_per_call: float
    padding_share: float | None = None
    flops: float | None = None
    bytes: float | None = None
    # What each device sends to others.
    network_bytes: float | None = None
    dtype: str = "float32"
    devices: int = 1
    # Files and numpy: no ceiling of a device applies.
    on_host: bool = False
    # Bytes, where the work is done in another process.
    peak_memory: Callable[[], int | None] | None = None
    # Share of the time that the call waited for data.
    wait_share: Callable[[], float] | None = None
    close: Callable[[], None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the result.

    Cases of one group are measured in turn, so that they may be compared with each other.
    """

    name: str
    preset: str
    prepare: Callable[[], Work]
    group: str = ""
    # Figures of others, shown beside the case.
    references: tuple[Reference, ...] = ()
    # The work is a whole program: one call is measured, and none warms up.
    single_call: bool = False


def expect_close(name: str, actual: Any, expected: Any, tolerance: float) -> str:
    """A sentence about the largest relative error of all leaves, see `relative_error`.

    Raises WrongResult where one is above the tolerance.
    """
    leaves = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    largest = 0.0
    for actual_leaf, expected_leaf in leaves:
        error = relative_error(actual_leaf, expected_leaf)
        # Written so that an error that is not a number is an error too.
        if not error <= tolerance:
            raise WrongResult(
                f"{name} differs from the reference by {error:.2g} of its size,"
                f" {tolerance:.2g} is allowed"
            )
        largest = max(largest, error)
    return f"{name}: {largest:.1e} of its size from the reference"


def relative_error(actual: Any, expected: Any) -> float:
    """The largest difference, over the largest expected value."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    scale = float(np.max(np.abs(expected), initial=0))
    difference = float(np.max(np.abs(actual - expected), initial=0))
    return difference / max(scale, 1e-30)
