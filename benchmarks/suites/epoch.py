"""What do several steps a call, and events that lie on the device, bring to training as it runs,
with its prefetch thread?

Two sizes: Beauty with friends, and a model whose step costs less than calling it. The ways of one
size take turns.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from benchmarks.harness import workloads
from benchmarks.harness.cases import Case
from benchmarks.harness.workloads import SEQUENCES
from benchmarks.work.epoch import Optimisations, stretches
from benchmarks.work.loader import FRIENDS

_PLAIN = Optimisations(packed=True, sampled=True)
_EIGHT = dataclasses.replace(_PLAIN, steps_per_call=8, prefetch=True)
_WAYS = {
    "one step a call, host batches": _PLAIN,
    "one step a call, events on the device": dataclasses.replace(_PLAIN, on_device=True),
    "8 steps a call, host batches, prefetched": _EIGHT,
    # This is what train.py does.
    "8 steps a call, events on the device, prefetched": dataclasses.replace(_EIGHT, on_device=True),
}
# Long enough that starting the prefetch thread does not count.
_STEPS = {"beauty-packed": 8, "small-step": 400}  # of a timed stretch


def cases(tiny: bool) -> list[Case]:
    cases = []
    for name, num_steps in _STEPS.items():
        (preset,) = workloads.sized((name,), tiny)
        # The small model has no friends, else the host's work would hide what calls cost.
        friends = FRIENDS if name == "beauty-packed" else 0
        workload = dataclasses.replace(SEQUENCES[preset], friends=friends)
        for way, optimisations in _WAYS.items():
            work = partial(stretches, workload, optimisations, num_steps)
            cases.append(Case(way, preset, work, preset))
    return cases
