"""Comparisons with a reference at a reduced shape of the same case."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from benchmarks.harness import workloads
from benchmarks.harness.cases import Work
from benchmarks.harness.workloads import Sequences, Texts
from socialrec_jax.runtime import parallel

Workload = TypeVar("Workload", Sequences, Texts)


def checked_at_reduced_shape(workload: Workload, make: Callable[[Workload, bool], Work]) -> Work:
    """The work of a workload, whose check makes the same work at `workloads.reduced` and compares
    that with its reference.

    make(workload, has_reference): the work; without a reference its check looks for what is not
    finite. The check comes after the timed calls, so that compiling the reference is no part of
    the case.
    """
    shape: Any = workloads.reduced(workload, parallel.num_devices())
    if shape == workload:
        return _at_its_own_shape(make(workload, True))
    work = make(workload, False)

    def check(carry: Any) -> str:
        work.check(carry)
        small = make(shape, True)
        compared = small.check(small.call(small.carry))
        small.close()
        return f"{compared}, at {shape.rows} x {shape.row_length}, {shape.layers} layer"

    return dataclasses.replace(work, check=check)


def _at_its_own_shape(work: Work) -> Work:
    def check(carry: Any) -> str:
        return f"{work.check(carry)}, at the case's own shape"

    return dataclasses.replace(work, check=check)
