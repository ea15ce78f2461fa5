"""What does each optimisation bring? Switched on one after the other on one workload, each beside
all before it.

The rungs of a workload take turns and learn the same windows, as many a step. The prefetch thread
is off: it would do a rung's work in another one's time, and what it hides is a question of the
suite `epoch`. A rung that is slower stays in the table.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NoReturn

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case, NotRun
from benchmarks.harness.workloads import SEQUENCES
from benchmarks.work.epoch import Optimisations, single_calls

# In this order; each name is a row of the table.
_SWITCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "+ packing": {"packed": True},
    "+ sampled softmax": {"sampled": True},
    "+ 8 steps a call": {"steps_per_call": 8},
    "+ events on the device": {"on_device": True},
    "+ tables row by row": {"tables": ("items",)},
    "+ bfloat16": {"bfloat16": True},
}


def rungs() -> dict[str, Optimisations]:
    """Each rung has all that was switched on up to it."""
    rungs, current = {}, Optimisations()
    for name, switch in _SWITCHES.items():
        # What is on stays on.
        current = dataclasses.replace(current, **switch)
        rungs[name] = current
    return rungs


def cases(tiny: bool) -> list[Case]:
    """Beauty's catalogue, and one so large that the default configuration trains its table row by
    row.
    """
    cases = []
    for preset in workloads.sized(("beauty-packed", "beauty-500k"), tiny):
        for name, optimisations in rungs().items():
            work = partial(single_calls, SEQUENCES[preset], optimisations)
            cases.append(Case(name, preset, work, preset))
        cases.append(Case("+ fused attention", preset, not_built, preset))
    return cases


def not_built() -> NoReturn:
    """On a CPU there is no fused attention; on a GPU every rung uses it."""
    raise NotRun("none for CPUs, and on a GPU in every rung")
