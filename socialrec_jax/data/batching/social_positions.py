"""The positions of a training batch whose states take in friends: a friend tree for every position
would cost more than the rest of the step.
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
    """Some random positions of each row, drawn anew at each step, and the friend trees of their
    users.
    """

    friend_sampler: FriendSampler
    per_row: int  # q
    at_request: bool  # query time: that of the next event (models with request_time), else the own

    def add(self, indices: PackedIndices, events: Events, step: int) -> PackedIndices:
        """The indices with friend trees; a function of (seed, step) and of each row's id."""
        positions = self._positions(indices, step)
        is_event = np.take_along_axis(indices.segments, positions, 1) > 0
        source = np.take_along_axis(indices.sources, positions, 1)

        users = np.where(is_event, events.owners[source], -1)
        last_row = len(events.times) - 1
        query_times = events.times[np.minimum(source + self.at_request, last_row)]
        friends = self.friend_sampler.sample(users, query_times, salt=step)
        return indices.replace(social_positions=positions, friends=friends)

    def _positions(self, indices: PackedIndices, step: int) -> np.ndarray:
        """Distinct columns [B, q] int32; padding only where a row has too few events."""
        columns = np.arange(indices.segments.shape[1])
        row_ids = np.asarray(indices.row_ids)[:, None]
        priority = uniform(self.friend_sampler.seed, step, row_ids, columns)
        priority = priority + (np.asarray(indices.segments) == 0)  # uniform is below 1
        return np.argsort(priority, axis=1)[:, : self.per_row].astype(np.int32)
