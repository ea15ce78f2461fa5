"""Training over epoch after epoch, with its optimisations on or off."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, WrongResult
from benchmarks.harness.workloads import Sequences
from benchmarks.work import steps
from benchmarks.work.padded_batches import padded
from benchmarks.work.reduced_checks import checked_at_reduced_shape
from socialrec_jax.batch import Batch
from socialrec_jax.runtime import background, parallel
from socialrec_jax.shapes import Array
from socialrec_jax.training import device_data, loop
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.state import TrainState

# A supply of batches that no measurement will use up.
_UNLIMITED = 1 << 40  # steps


@dataclasses.dataclass(frozen=True)
class Optimisations:
    """Which optimisations of training are on."""

    packed: bool = False  # else one window a row
    sampled: bool = False  # else a softmax over all items
    steps_per_call: int = 1
    on_device: bool = False  # the events; else batches come from the host
    tables: tuple[str, ...] = ()  # trained row by row; else by Adam as a whole
    bfloat16: bool = False
    prefetch: bool = False  # a thread makes the next batch while the devices work

    def apply(self, workload: Sequences) -> Sequences:
        """The workload with its loss and its precision."""
        return dataclasses.replace(
            workload,
            negatives=workload.negatives if self.sampled else 0,
            dtype="bfloat16" if self.bfloat16 else "float32",
        )


@dataclasses.dataclass
class _Training:
    """A training that is ready to start."""

    workload: Sequences
    batches: loop.Batches
    call: Callable
    state: TrainState
    example: Batch
    reference_loss: Array | None
    costs: _Costs

    @property
    def events_per_step(self) -> float:
        return self.batches.targets_per_epoch / self.batches.steps_per_epoch

    def supply(self, optimisations: Optimisations, num_steps: int) -> Any:
        """Batches of successive device calls."""
        K = optimisations.steps_per_call
        # (0, 1): this process, of one.
        calls = loop.calls(self.batches, 0, num_steps, K, (0, 1))
        return background.prefetch(calls) if optimisations.prefetch else calls

    def work(self, num_steps: int, **how: Any) -> Work:
        """Work of so many steps a call."""
        return Work(
            unit="events",
            units_per_call=num_steps * self.events_per_step,
            padding_share=1 - self.events_per_step / self.example.segments.size,
            flops=num_steps * self.costs.flops,
            bytes=num_steps * self.costs.bytes,
            network_bytes=num_steps * self.costs.network_bytes,
            dtype=self.workload.dtype,
            devices=parallel.num_devices(),
            **how,
        )


@dataclasses.dataclass(frozen=True)
class _Costs:
    """Closed forms of one step."""

    flops: float
    bytes: float
    network_bytes: float  # that each device sends


def single_calls(workload: Sequences, optimisations: Optimisations) -> Work:
    """One device call after the other.

    A call makes its batches, sends them and learns them, one after the other. The prefetch thread
    must be off: it would make batches while another case is timed.
    """

    def make(workload: Sequences, has_reference: bool) -> Work:
        return _single_calls(_prepare(workload, optimisations, has_reference), optimisations)

    return checked_at_reduced_shape(workload, make)


def _single_calls(training: _Training, optimisations: Optimisations) -> Work:
    supply = training.supply(optimisations, _UNLIMITED)
    state, losses = training.call(training.state, next(supply))
    # The loss of the first step of the first call, before any parameter has changed.
    first_loss = np.asarray(losses)
    expected, dtype = training.reference_loss, training.workload.dtype
    return training.work(
        optimisations.steps_per_call,
        call=lambda carry: training.call(carry[0], next(supply)),
        carry=(state, losses),
        check=lambda carry: steps.expect_loss(first_loss, expected, carry[1], dtype),
    )


def stretches(workload: Sequences, optimisations: Optimisations, num_steps: int) -> Work:
    """Stretches of so many steps, as the training loop makes them.

    The prefetch thread, where it is on, starts and ends with its stretch.
    """

    def make(workload: Sequences, has_reference: bool) -> Work:
        training = _prepare(workload, optimisations, has_reference)
        return _stretches(training, optimisations, num_steps)

    return checked_at_reduced_shape(workload, make)


def _stretches(training: _Training, optimisations: Optimisations, num_steps: int) -> Work:
    first_losses: list[np.ndarray] = []

    def call(carry):
        state, stretch, losses = carry
        for batch in training.supply(optimisations, num_steps):
            state, losses = training.call(state, batch)
            # The training loop reads every loss too, and so waits for every call.
            losses = np.asarray(losses)
            first_losses.append(losses[:1])
        return state, stretch + 1, losses

    def check(carry) -> str:
        state, num_stretches, losses = carry
        if int(state.step) != num_stretches * num_steps:
            raise WrongResult(f"{num_stretches} stretches made {int(state.step)} steps")
        expected, dtype = training.reference_loss, training.workload.dtype
        return steps.expect_loss(first_losses[0], expected, losses, dtype)

    return training.work(num_steps, call=call, carry=(training.state, 0, None), check=check)


def _prepare(workload: Sequences, optimisations: Optimisations, has_reference: bool) -> _Training:
    workload = optimisations.apply(workload)
    source = workload.batches()
    # Padded or packed, an epoch has the same windows and the same number of steps.
    batches = source if optimisations.packed else padded(source)
    trainer = steps.trainer_of(workload, source.item_counts(workload.items))
    trainer = dataclasses.replace(trainer, tables=optimisations.tables)
    # The batch that the reference and the first timed step have in common.
    example = batches.at(0)
    state = trainer.init(example)
    reference_loss = steps.reference_loss(trainer, state, example) if has_reference else None
    costs = _costs(workload, trainer, state, example)
    # On the device, batches are cut there, and the host sends indices.
    if optimisations.on_device:
        trainer, batches = device_data.placed(trainer, source)
    call = trainer.compile()
    return _Training(workload, batches, call, state, example, reference_loss, costs)


def _costs(
    workload: Sequences, trainer: RetrieverTrainer, state: TrainState, batch: Batch
) -> _Costs:
    """Of one step; a table that is trained row by row costs what its rows cost."""
    devices, width = parallel.num_devices(), workload.width
    forward_flops, traffic = steps.step_cost(workload, state, batch)
    # All other parameters have their gradients added over the devices.
    sent = flops.all_reduce_bytes(steps.num_parameters(state.params), devices)
    # Their rows are exchanged between devices instead of being added up over all of them.
    if trainer.big_tables:
        rows = _num_rows(trainer, batch)
        traffic += flops.row_bytes(rows, width)
        sent += flops.exchange_bytes(rows // devices, width, devices)
    return _Costs(flops.TRAINING * forward_flops, traffic, sent)


def _num_rows(trainer: RetrieverTrainer, batch: Batch) -> int:
    """Distinct items of the first step: inputs, targets and negatives."""
    counts = jnp.asarray(trainer.running_counts)
    _, negatives = trainer.randomness(jnp.int32(0), counts, trainer.config.seed)
    assert negatives is not None, "tables are trained row by row with sampled negatives alone"
    columns = (batch.items, batch.targets, negatives.ids)
    # An item that occurs several times is one row.
    ids = np.concatenate([np.asarray(column).reshape(-1) for column in columns])
    return len(np.unique(ids))
