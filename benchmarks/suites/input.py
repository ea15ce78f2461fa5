"""Does the loader keep up? The loader alone, the step alone, and both with the prefetch thread
between them.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from functools import partial

import jax
import numpy as np

from benchmarks import steps, workloads
from benchmarks.cases import Case, Work, Wrong
from benchmarks.workloads import SEQUENCES, Sequences
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.runtime import parallel


def cases(tiny: bool) -> list[Case]:
    names = workloads.sized(("beauty-packed", "dlrmv4-mini"), tiny)
    return [
        case
        for name in names
        for case in (
            Case("loader alone", name, partial(loader, name), name),
            Case("step alone", name, partial(step_alone, name), name),
            Case("loader and step", name, partial(both, name), name),
        )
    ]


def _workload(name: str) -> Sequences:
    """With friends: they are what costs a loader most."""
    return dataclasses.replace(SEQUENCES[name], friends=10)


def step_alone(name: str) -> Work:
    """On one batch that is made beforehand."""
    return steps.step(name, friends=10)


def loader(name: str) -> Work:
    """Batches of successive steps, made on the host in the calling thread."""
    batches = _workload(name).batches()

    def check(_) -> None:
        learnt = sum(
            float(batches.at(step).weights.sum()) for step in range(batches.steps_per_epoch)
        )
        if learnt != batches.targets_per_epoch:
            raise Wrong(f"an epoch has {learnt:.0f} targets, not {batches.targets_per_epoch}")

    def call(step: int) -> int:
        batches.at(step)
        return step + 1

    return Work(
        call=call,
        carry=0,
        check=check,
        unit="events",
        units_per_call=_events_of_step(batches),
        padding_share=1 - batches.fill_share,
        on_host=True,
    )


def both(name: str) -> Work:
    """As in training: the next batch is made while the devices work on this one."""
    workload = _workload(name)
    batches = workload.batches()
    trainer = steps.trainer_of(workload, batches.item_counts(workload.items))
    state, step = trainer.init(batches.at(0)), trainer.compile()
    supply = parallel.prefetch(steps.as_call(batches.at(number)) for number in itertools.count())
    waited, total = [], []

    def call(carry):
        began = time.perf_counter()
        batch = next(supply)
        waited.append(time.perf_counter() - began)
        carry = jax.block_until_ready(step(carry[0], batch))
        total.append(time.perf_counter() - began)
        return carry

    def check(carry) -> None:
        if not np.isfinite(np.asarray(carry[1])).all():
            raise Wrong("the last loss is not finite")
        if int(carry[0].step) != len(total):
            raise Wrong(f"{len(total)} calls made {int(carry[0].step)} steps")

    return Work(
        call=call,
        carry=(state, None),
        check=check,
        unit="events",
        units_per_call=_events_of_step(batches),
        padding_share=1 - batches.fill_share,
        dtype=workload.dtype,
        devices=parallel.num_devices(),
        wait_share=lambda: sum(waited[2:]) / sum(total[2:]),  # the first two warm up
        close=supply.close,
    )


def _events_of_step(batches: TrainingBatches) -> float:
    return batches.targets_per_epoch / batches.steps_per_epoch
