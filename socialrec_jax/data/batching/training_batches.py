"""World to Batch as a pure function of (seed, step): a resumed run needs an integer and no iterator
state.

Training cuts each history into windows of at most T events and packs them anew in a random order
every epoch. The input at position t is an event, its target is the event after it.
"""

from __future__ import annotations

import functools

import numpy as np

from socialrec_jax.batch import Batch, Columns, PackedIndices
from socialrec_jax.data.batching.layout import (
    PackedLayout,
    cut_windows,
    gather_on_host,
    model_times,
    pack_windows,
    packed_indices,
)
from socialrec_jax.data.batching.social_positions import SocialPositions
from socialrec_jax.data.world import Events


class TrainingBatches:
    """All training steps of a data set.

    Learns every event of events[start:history_end] of each user but the first; history_ends [U]
    comes from `World.history_ends`, and starts [U] are those of the histories by default.
    rows_per_step is B over all processes: process p of P gets its exact share of each step's rows.
    social_positions adds friends to some positions of each row.
    """

    def __init__(
        self,
        events: Events,
        history_ends: np.ndarray,
        first_time: int,
        row_length: int,
        rows_per_step: int,
        seed: int,
        social_positions: SocialPositions | None = None,
        starts: np.ndarray | None = None,
    ):
        self.events = events
        self.history_ends = history_ends
        self.first_time = first_time
        self.row_length = row_length
        self.rows_per_step = rows_per_step
        self.seed = seed
        self.social_positions = social_positions
        # A cache of this object's own: the data go with it, and others do not push it out.
        self._layout = functools.lru_cache(maxsize=2)(self._pack)

        # The last event of a history is a target only.
        starts = events.starts if starts is None else starts
        num_inputs = np.maximum(history_ends - starts - 1, 0)
        has_inputs = num_inputs > 0
        self._starts, self._lengths = starts[has_inputs], num_inputs[has_inputs]
        self.targets_per_epoch = int(num_inputs.sum())

    @functools.cached_property
    def num_rows(self) -> int:
        """Packed rows of an epoch, the same in every epoch."""
        return len(self._layout(0).segments)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.rows_per_step)

    @property
    def fill_share(self) -> float:
        """Share of the positions that hold an event."""
        return self.targets_per_epoch / (self.num_rows * self.row_length)

    def _pack(self, epoch: int) -> PackedLayout:
        # A generator of its own for each epoch: no state is carried from step to step.
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        starts, lengths = cut_windows(self._starts, self._lengths, self.row_length, rng)
        permutation = rng.permutation(len(starts))
        layout, _ = pack_windows(starts[permutation], lengths[permutation], self.row_length)
        row_order = rng.permutation(len(layout.segments))
        return PackedLayout(layout.sources[row_order], layout.segments[row_order])

    def item_counts(self, num_items: int) -> np.ndarray:
        """Training events of each item [V]."""
        visible = self.events.visible(self.history_ends)
        return np.bincount(self.events.items[visible], minlength=num_items)

    def indices(self, step: int, process: int = 0, num_processes: int = 1) -> PackedIndices:
        """The events of the rows [B / num_processes, T] of a step that this process trains on."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        # Row ids count over all processes, and dropout with them.
        share = self.rows_per_step // num_processes
        row_ids = np.arange(process * share, (process + 1) * share)
        first_row = step_of_epoch * self.rows_per_step
        indices = packed_indices(self._layout(epoch), first_row, row_ids)
        if self.social_positions is None:
            return indices
        return self.social_positions.add(indices, self.events, step)

    def at(self, step: int, process: int = 0, num_processes: int = 1) -> Batch:
        """The rows of a step, gathered from the events on the host."""
        indices = self.indices(step, process, num_processes)
        return gather_on_host(indices, self.events, self.first_time)

    def columns(self) -> Columns:
        """All events as the model reads them: `gather_batch(indices(step), columns())` is
        `at(step)`.
        """
        events = self.events
        return Columns(events.items, events.types, model_times(events.times, self.first_time))
