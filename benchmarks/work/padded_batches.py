"""Batches without packing: one window a row, the rest of the row is padding.

The product packs; this is what it is compared with.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.batch import Batch
from socialrec_jax.data.batching.training_batches import PackedLayout, TrainingBatches, cut, windows
from socialrec_jax.runtime import parallel


@dataclasses.dataclass(frozen=True)
class PaddedBatches:
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
        """The rows of one step that this process trains on."""
        rows_here = self.rows_per_step // num_processes
        rows = np.arange(process * rows_here, (process + 1) * rows_here)
        # After the last step the same epoch starts again.
        offset = step % self.steps_per_epoch * self.rows_per_step
        return cut(self.source.events, self.layout, offset, rows, self.source.first_time)


def padded(source: TrainingBatches) -> PaddedBatches:
    """With as many rows a step as make the same number of steps an epoch."""
    rng = np.random.default_rng(0)
    events = source.events
    # The last event of a history has no target.
    lengths = np.diff(events.offsets) - 1
    starts, lengths = windows(events.starts, lengths, source.row_length, rng)
    # As packing does, windows go to the steps in a random order.
    permutation = rng.permutation(len(starts))
    layout = _one_window_a_row(starts[permutation], lengths[permutation], source.row_length)
    devices = parallel.num_devices()
    # Rounded up: the last step of an epoch may have empty rows.
    rows = -(-len(starts) // source.steps_per_epoch)
    # A step's rows are split evenly over the devices.
    rows = -(-rows // devices) * devices
    return PaddedBatches(source, layout, rows)


def _one_window_a_row(starts: np.ndarray, lengths: np.ndarray, row_length: int) -> PackedLayout:
    """Windows [S] of events, each with a row [S, T] of its own."""
    columns = np.arange(row_length)
    is_real = columns < lengths[:, None]
    sources = np.where(is_real, starts[:, None] + columns, 0)
    return PackedLayout(sources, is_real.astype(np.int32))
