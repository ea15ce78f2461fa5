"""Does the loader keep up? The loader alone, the step alone, and both with the prefetch thread
between them.
"""

from __future__ import annotations

from functools import partial

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case
from benchmarks.work import loader
from benchmarks.work.steps import step


def cases(tiny: bool) -> list[Case]:
    names = workloads.sized(("beauty-packed", "dlrmv4-mini"), tiny)
    return [case for name in names for case in _cases_of(name)]


def _cases_of(name: str) -> list[Case]:
    return [
        Case("loader alone", name, partial(loader.batches_alone, name), name),
        # With the events on the device, the host makes these instead of batches.
        Case("loader of packed indices alone", name, partial(loader.indices_alone, name), name),
        Case("step alone", name, partial(step, name, friends=loader.FRIENDS), name),
        Case("loader and step", name, partial(loader.with_step, name), name),
    ]
