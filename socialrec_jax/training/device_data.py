"""Where the events lie while a model learns from them: on every device if they fit there, else on
the host.

On the devices, the host sends of each step only which event stands where, and whose friends are
asked: a fifth of the bytes, and no gathers on its own cores. Else it cuts the same batches from the
memory maps.
"""

from __future__ import annotations

import dataclasses

from socialrec_jax.batch import PackedIndices
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.runtime import parallel
from socialrec_jax.training.retriever import Trainer

_BYTES_PER_EVENT = 13  # user, item and time of 4 each, type of 1


@dataclasses.dataclass(frozen=True)
class DeviceBatches:
    """The steps of TrainingBatches as slots, for a Trainer that has the columns."""

    batches: TrainingBatches

    @property
    def targets_per_epoch(self) -> int:
        return self.batches.targets_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return self.batches.steps_per_epoch

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> PackedIndices:
        indices = self.batches.indices(step, process, num_processes)
        return indices.replace(
            sources=indices.sources.astype("int32")
        )  # what fits a device fits 31 bits


def fits(num_events: int) -> bool:
    """Whether the columns of so many events may lie on each device."""
    return num_events * _BYTES_PER_EVENT <= parallel.memory_for_data() and num_events < 2**31


def placed(
    trainer: Trainer, batches: TrainingBatches
) -> tuple[Trainer, TrainingBatches | DeviceBatches]:
    """The trainer with the events on its devices and the batches as slots, where they fit; both as
    they are else.
    """
    if not fits(len(batches.events.items)):
        return trainer, batches
    return dataclasses.replace(trainer, columns=batches.columns()), DeviceBatches(batches)


def describe(num_events: int) -> str:
    """Where the events lie, and why."""
    size, budget = num_events * _BYTES_PER_EVENT / 1e6, parallel.memory_for_data() / 1e6
    where = "on each device" if fits(num_events) else "streamed from the host"
    return f"{where}: {size:,.1f} MB, budget {budget:,.0f} MB"
