"""How long does training stand still for a checkpoint, and how long does a restart read one?"""

from __future__ import annotations

from functools import partial

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case
from benchmarks.work.checkpoints import load, save


def cases(tiny: bool) -> list[Case]:
    cases = []
    for name in workloads.sized(("beauty-packed", "dlrmv4-mini"), tiny):
        # One group, so that both see the same disk.
        cases.append(Case("save", name, partial(save, name), name))
        cases.append(Case("load", name, partial(load, name), name))
    return cases
