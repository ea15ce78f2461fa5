"""Which positions of a training batch take in friends: a tree for every one of them would cost more
than the rest.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.batch import PackedIndices
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.counter_rng import uniform
from socialrec_jax.data.world import Events


@dataclasses.dataclass(frozen=True)
class SocialPositions:
    """A few random positions of each row, anew each step, and the trees of their users."""

    friend_sampler: FriendSampler
    per_row: int  # q
    at_request: bool  # whether the model may know when the next event happens

    def join(self, indices: PackedIndices, events: Events, step: int) -> PackedIndices:
        """The slots with friends at some positions: a function of (seed, step) and of each row's
        own number.
        """
        positions = self._positions(indices, step)
        real = np.take_along_axis(indices.segments, positions, 1) > 0
        source = np.take_along_axis(indices.sources, positions, 1)
        users = np.where(real, events.owners[source], -1)
        query_times = events.times[np.minimum(source + self.at_request, len(events.times) - 1)]
        return indices.replace(
            social_positions=positions,
            friends=self.friend_sampler.sample(users, query_times, salt=step),
        )

    def _positions(self, indices: PackedIndices, step: int) -> np.ndarray:
        """Distinct columns [B, q] int32; padding only where a row has nothing else left."""
        columns, padding = np.arange(indices.segments.shape[1]), np.asarray(indices.segments) == 0
        order = (
            uniform(self.friend_sampler.seed, step, np.asarray(indices.row_ids)[:, None], columns)
            + padding
        )
        return np.argsort(order, axis=1)[:, : self.per_row].astype(np.int32)
