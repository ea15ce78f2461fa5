"""What does each optimisation bring? Switched on one after the other on one workload, each beside
all before it.

The rungs of a workload take turns and learn the same windows, as many a step. A call cuts its
batches, sends them and learns them, one after the other: the loader's thread would do a rung's work
in another one's time, and what it hides is a question of the suite `input`. A rung that loses is
shown as losing.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NoReturn

import jax.numpy as jnp
import numpy as np

from benchmarks import flops, steps, workloads
from benchmarks.cases import Case, NotRun, Work
from benchmarks.workloads import SEQUENCES, Sequences
from socialrec_jax.batch import Batch
from socialrec_jax.data.batching.layout import PackedLayout, cut_windows, gather_rows
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.runtime import parallel
from socialrec_jax.training import device_data, loop
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.state import TrainState

_FOREVER = 1 << 40  # steps


@dataclasses.dataclass(frozen=True)
class Rung:
    """Which optimisations are on."""

    packed: bool = False  # else one window a row
    sampled: bool = False  # else a softmax over all items
    steps_per_call: int = 1
    resident: bool = False  # packed events on the device; else batches from the host
    tables: tuple[str, ...] = ()  # trained row by row; else by Adam as a whole
    bfloat16: bool = False

    def of(self, workload: Sequences) -> Sequences:
        negatives = workload.negatives if self.sampled else 0
        return dataclasses.replace(
            workload, negatives=negatives, dtype="bfloat16" if self.bfloat16 else "float32"
        )


_SWITCHES = {
    "plain": {},
    "+ packing": {"packed": True},
    "+ sampled softmax": {"sampled": True},
    "+ 8 steps a call": {"steps_per_call": 8},
    "+ events on the device": {"resident": True},
    "+ tables row by row": {"tables": ("items",)},
    "+ bfloat16": {"bfloat16": True},
}


def rungs() -> dict[str, Rung]:
    """The ladder from its foot: each rung has all that was switched on up to it."""
    found, rung = {}, Rung()
    for name, switched in _SWITCHES.items():
        found[name] = rung = dataclasses.replace(rung, **switched)
    return found


def cases(tiny: bool) -> list[Case]:
    """Beauty's catalogue, and one of a size whose table our own recipe trains row by row."""
    return [
        case
        for name in workloads.sized(("beauty-packed", "beauty-500k"), tiny)
        for case in (
            *(
                Case(title, name, partial(step, SEQUENCES[name], rung), name)
                for title, rung in rungs().items()
            ),
            Case("+ fused attention", name, not_built, name),
        )
    ]


def not_built() -> NoReturn:
    """models/attention.py is compiled by XLA alone; docs/architecture.md says why."""
    raise NotRun("none built")


def step(workload: Sequences, rung: Rung) -> Work:
    """Calls of the optimiser's step as this rung makes them, over epoch after epoch."""
    workload = rung.of(workload)
    source = workload.batches()
    batches = source if rung.packed else padded(source)
    trainer = steps.trainer_of(workload, source.item_counts(workload.items))
    trainer = dataclasses.replace(trainer, tables=rung.tables)
    example = batches.at(0)
    state = trainer.init(example)
    expected = steps.reference_loss(trainer, state, example)
    K, costs = rung.steps_per_call, costs_of(workload, trainer, state, example)
    events = batches.targets_per_epoch / batches.steps_per_epoch
    if rung.resident:
        trainer, batches = device_data.placed(trainer, source)
    call = trainer.compile()
    supply = loop.calls(batches, 0, _FOREVER, K, (0, 1))
    state, losses = call(state, next(supply))
    first = np.asarray(losses)
    return Work(
        call=lambda carry: call(carry[0], next(supply)),
        carry=(state, losses),
        check=lambda carry: steps.loss_holds(first, expected, carry[1], workload.dtype),
        unit="events",
        units_per_call=K * events,
        padding_share=1 - events / example.segments.size,
        flops=K * costs[0],
        bytes=K * costs[1],
        network_bytes=K * costs[2],
        dtype=workload.dtype,
        devices=parallel.num_devices(),
    )


def costs_of(workload: Sequences, trainer: RetrieverTrainer, state: TrainState, batch: Batch):
    """(FLOPs, bytes, bytes that each device sends) of one step; a table trained by rows costs what
    its rows cost.
    """
    devices, width = parallel.num_devices(), workload.width
    forward, traffic = steps.step_cost(workload, state, batch)
    sent = flops.all_reduce_bytes(steps.num_parameters(state.params), devices)
    if trainer.big_tables:
        rows = rows_of(trainer, batch)
        traffic += flops.row_bytes(rows, width)
        sent += flops.exchange_bytes(rows // devices, width, devices)
    return flops.TRAINING * forward, traffic, sent


def rows_of(trainer: RetrieverTrainer, batch: Batch) -> int:
    """Distinct items that the first step touches: what happened, what comes next, negatives."""
    _, drawn = trainer.randomness(jnp.int32(0), jnp.asarray(trainer.running_counts))
    assert drawn is not None
    asked = (batch.items, batch.targets, drawn.ids)
    return len(np.unique(np.concatenate([np.asarray(ids).reshape(-1) for ids in asked])))


@dataclasses.dataclass(frozen=True)
class Padded:
    """Windows of TrainingBatches, one a row."""

    source: TrainingBatches
    layout: PackedLayout
    rows_per_step: int

    @property
    def targets_per_epoch(self) -> int:
        return self.source.targets_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.layout.segments) // self.rows_per_step)

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> Batch:
        share = self.rows_per_step // num_processes
        rows = np.arange(process * share, (process + 1) * share)
        offset = step % self.steps_per_epoch * self.rows_per_step
        return gather_rows(self.source.events, self.layout, offset, rows, self.source.first_time)


def padded(source: TrainingBatches) -> Padded:
    """With as many rows a step as make the same number of steps an epoch."""
    events, T, rng = source.events, source.row_length, np.random.default_rng(0)
    starts, lengths = cut_windows(events.starts, np.diff(events.offsets) - 1, T, rng)
    permutation = rng.permutation(len(starts))
    places = np.arange(T)
    real = places < lengths[permutation, None]
    layout = PackedLayout(
        np.where(real, starts[permutation, None] + places, 0), real.astype(np.int32)
    )
    devices = parallel.num_devices()
    rows = -(-len(starts) // source.steps_per_epoch)
    return Padded(source, layout, -(-rows // devices) * devices)
