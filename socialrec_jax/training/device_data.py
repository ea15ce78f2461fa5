"""The events on every device, if they fit there; else on the host.

With the events on the devices, the host sends only the indices of each step's events, and friends:
a fifth of the bytes, and no gathers on its own cores. Else it gathers the same batches from the
memory maps.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.batch import PackedIndices
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.runtime import parallel
from socialrec_jax.training.retriever import RetrieverTrainer

_BYTES_PER_EVENT = 9  # item and time of 4 each, type of 1


@dataclasses.dataclass(frozen=True)
class DeviceBatches:
    """The steps of TrainingBatches as indices, for a trainer that has the columns."""

    batches: TrainingBatches

    @property
    def targets_per_epoch(self) -> int:
        return self.batches.targets_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return self.batches.steps_per_epoch

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> PackedIndices:
        """The indices of a step; 32 bits are enough for events that fit a device."""
        indices = self.batches.indices(step, process, num_processes)
        return indices.replace(sources=indices.sources.astype(np.int32))


def fits(num_events: int) -> bool:
    """Whether the columns of so many events may lie on each device."""
    size = num_events * _BYTES_PER_EVENT
    # PackedIndices are int32.
    return size <= parallel.memory_for_data() and num_events < 2**31


def placed(
    trainer: RetrieverTrainer, batches: TrainingBatches
) -> tuple[RetrieverTrainer, TrainingBatches | DeviceBatches]:
    """The trainer with the events on its devices, and the batches as indices, where they fit; else
    both unchanged.
    """
    if not fits(len(batches.events.items)):
        return trainer, batches
    return dataclasses.replace(trainer, columns=batches.columns()), DeviceBatches(batches)


def describe(num_events: int) -> str:
    """Where the events lie, and why: a line for people."""
    size = num_events * _BYTES_PER_EVENT / 1e6
    budget = parallel.memory_for_data() / 1e6
    where = "on each device" if fits(num_events) else "streamed from the host"
    return f"{where}: {size:,.1f} MB, budget {budget:,.0f} MB"
