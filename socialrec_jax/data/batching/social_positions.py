"""Which positions of a training batch take in friends: a tree for every one of them would cost more than the rest."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.batch import Slots
from socialrec_jax.data.batching.friend_sampler import Neighbourhood
from socialrec_jax.data.counter_rng import draw
from socialrec_jax.data.world import Events


@dataclasses.dataclass(frozen=True)
class Asking:
    """A few random positions of each row, anew each step, and the trees of their users."""

    neighbourhood: Neighbourhood
    per_row: int  # q
    at_request: bool  # whether the model may know when the next event happens

    def join(self, slots: Slots, events: Events, step: int) -> Slots:
        """The slots with friends at some positions: a function of (seed, step) and of each row's own number."""
        asked = self._positions(slots, step)
        real = np.take_along_axis(slots.segments, asked, 1) > 0
        source = np.take_along_axis(slots.sources, asked, 1)
        users = np.where(real, events.owners[source], -1)
        moments = events.times[np.minimum(source + self.at_request, len(events.times) - 1)]
        return slots.replace(
            asked=asked, friends=self.neighbourhood.sample(users, moments, salt=step)
        )

    def _positions(self, slots: Slots, step: int) -> np.ndarray:
        """Distinct columns [B, q] int32; padding only where a row has nothing else left."""
        columns, padding = np.arange(slots.segments.shape[1]), np.asarray(slots.segments) == 0
        order = (
            draw(self.neighbourhood.seed, step, np.asarray(slots.row_ids)[:, None], columns)
            + padding
        )
        return np.argsort(order, axis=1)[:, : self.per_row].astype(np.int32)
