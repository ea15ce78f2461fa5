"""Which positions of a training batch take in friends: a tree for every one of them would cost more than the rest."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.batch import Batch
from socialrec_jax.data.draws import draw
from socialrec_jax.data.neighbours import Neighbourhood


@dataclasses.dataclass(frozen=True)
class Asking:
    """A few random positions of each row, anew each step, and the trees of their users."""

    neighbourhood: Neighbourhood
    per_row: int  # q
    at_request: bool  # whether the model may know when the next event happens

    def join(self, batch: Batch, step: int, first_time: int) -> Batch:
        """The batch with friends at some positions: a function of (seed, step) and of each row's own number."""
        asked = self._positions(batch, step)
        real = np.take_along_axis(batch.segments, asked, 1) > 0
        users = np.where(real, np.take_along_axis(batch.users, asked, 1), -1)
        times = batch.request_times if self.at_request else batch.times
        moments = np.take_along_axis(times, asked, 1).astype(np.int64) + first_time
        return batch.replace(asked=asked, friends=self.neighbourhood.sample(users, moments, salt=step))

    def _positions(self, batch: Batch, step: int) -> np.ndarray:
        """Distinct columns [B, q] int32; padding only where a row has nothing else left."""
        columns = np.arange(batch.segments.shape[1])
        order = draw(self.neighbourhood.seed, step, np.asarray(batch.row_ids)[:, None], columns) + (batch.segments == 0)
        return np.argsort(order, axis=1)[:, : self.per_row].astype(np.int32)
