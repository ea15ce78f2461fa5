"""Histories -> user states, through the same packed batches and the same model call as in training."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from socialrec_jax import parallel
from socialrec_jax.batch import Batch
from socialrec_jax.config import Config, required
from socialrec_jax.data.batches import cut, lay_out, model_times
from socialrec_jax.data.world import Events
from socialrec_jax.models.recommender import RecommenderModel

_TOKENS_AT_ONCE = 8192  # on all devices
_QUERIES_AT_ONCE = 65536  # packed together; bounds host memory


class Encoder:
    """Compiled once; params [tree on all devices] are given with each call."""

    def __init__(self, model: RecommenderModel, config: Config):
        self.model = model
        self.row_length = required(config.model.history_length)
        per_device = max(1, _TOKENS_AT_ONCE // self.row_length // parallel.num_local_devices())
        self.rows_per_call = per_device * parallel.num_local_devices()
        self._catalogue = jax.jit(lambda params: model.bind({"params": params}).encode_items())
        self._encode = parallel.map_devices(lambda params, batch: model.bind({"params": params}).encode_users(batch))

    def catalogue(self, params: dict) -> jax.Array:
        """The item vectors [V, D], on all local devices."""
        return parallel.replicate(self._catalogue(params))

    def states(
        self,
        params: dict,
        events: Events,
        users: np.ndarray,
        ends: np.ndarray,
        first_time: int,
        asked: int | None = None,
    ) -> np.ndarray:
        """The state [Q, D] float32 of each query: user users[q], who did what lies before row ends[q] of events.

        Only the last T events count. asked: unix seconds of the request, for models that see it (otherwise each is
        asked right at its last event). A query without history gets a state of zeros.
        """
        parts = [
            self._some_states(params, events, users[at], ends[at], first_time, asked) for at in _slices(len(users))
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.model.config.width), np.float32)

    def _some_states(self, params, events, users, ends, first_time, asked) -> np.ndarray:
        lengths = np.minimum(ends - events.offsets[users], self.row_length)
        has_history = lengths > 0
        states = np.zeros((len(users), self.model.config.width), np.float32)
        if has_history.any():
            starts, lengths = (ends - lengths)[has_history], lengths[has_history]
            plan, last = lay_out(starts, lengths, self.row_length)
            rows = [
                self._encode_rows(
                    params, cut(events, plan, at, np.arange(self.rows_per_call), first_time), asked, first_time
                )
                for at in range(0, len(plan.segments), self.rows_per_call)
            ]
            states[has_history] = np.concatenate(rows).reshape(-1, states.shape[1])[last]
        return states

    def _encode_rows(self, params, batch: Batch, asked: int | None, first_time: int) -> np.ndarray:
        request = batch.times if asked is None else np.full_like(batch.times, model_times(np.array(asked), first_time))
        batch = batch.replace(request_times=request)
        return parallel.join_devices(self._encode(params, parallel.split_over_devices(batch)))


def _slices(count: int) -> Iterator[slice]:
    return (slice(at, at + _QUERIES_AT_ONCE) for at in range(0, count, _QUERIES_AT_ONCE))
