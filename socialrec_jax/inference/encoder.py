"""Histories -> user states, through the same packed batches and the same model call as in
training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np

from socialrec_jax.batch import Batch, FriendTrees
from socialrec_jax.config import Config, required
from socialrec_jax.data.batching.layout import gather_rows, pack_windows
from socialrec_jax.data.world import Events
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array

_TOKENS_AT_ONCE = 8192  # on all devices
_QUERIES_AT_ONCE = 65536  # packed together; bounds host memory
_TREES_AT_ONCE = 256  # on all devices

Trees = Callable[
    [np.ndarray], FriendTrees
]  # who stood around some of the queries [q], -1 for nobody


@functools.lru_cache(maxsize=4)
def encoder_of(model: RecommenderModel, config: Config) -> Encoder:
    """The same encoder for all who use the same model: what validation has compiled serves
    evaluation too.
    """
    return Encoder(model, config)


class Encoder:
    """The model at work. Compiled once; variables [tree on all devices] are given with each call.

    types: (variables, (states [P, q, k, D], items [P, q, k])) -> [P, q, k, A], how each user would
    act on each item if it came next. actions: (variables, states [q, D]) -> [q, A], whatever comes
    next.
    """

    def __init__(self, model: RecommenderModel, config: Config):
        self.model = model
        self.row_length = required(config.model.history_length)
        per_device = max(1, _TOKENS_AT_ONCE // self.row_length // parallel.num_local_devices())
        self.rows_per_call = per_device * parallel.num_local_devices()
        self._catalogue = jax.jit(functools.partial(_encode_items, model))
        self._encode = parallel.map_devices(functools.partial(_encode_users, model))
        self._join = parallel.map_devices(functools.partial(_join_trees, model))
        self.types = parallel.map_devices(functools.partial(_next_types, model))
        self.actions = jax.jit(functools.partial(_next_actions, model))

    def catalogue(self, variables: dict) -> jax.Array:
        """The item vectors [V, D], on all local devices."""
        return parallel.replicate(self._catalogue(variables))

    def states(
        self,
        variables: dict,
        events: Events,
        users: np.ndarray,
        history_ends: np.ndarray,
        first_time: int,
        request_times: np.ndarray | None = None,
        trees: Trees | None = None,
    ) -> np.ndarray:
        """The state [Q, D] float32 of each query: user users[q], who did what lies before row
        ends[q] of events.

        Only the last T events count. asked [Q]: unix seconds of the request, for models that see
        it; without it each is asked right at its last event. trees: the friends of each query, for
        models that know friends. A query without history gets a state of zeros, whoever its friends
        are: what is popular serves it better (on Ciao by two thirds), and the ranker knows what
        friends had.
        """
        states = np.zeros((len(users), self.model.config.width), np.float32)
        lengths = np.minimum(history_ends - events.offsets[users], self.row_length)
        known = np.flatnonzero(lengths)
        for begin in range(0, len(known), _QUERIES_AT_ONCE):
            part = known[begin : begin + _QUERIES_AT_ONCE]
            when = None if request_times is None else request_times[part]
            states[part] = self._windows(
                variables, events, history_ends[part], lengths[part], first_time, when
            )
        if trees is not None:
            self._join_friends(variables, states, known, trees)
        return states

    def _join_friends(
        self, variables: dict, states: np.ndarray, known: np.ndarray, trees: Trees
    ) -> None:
        """Let friends into the states [Q, D] of the queries `known`, in chunks of one size."""
        P = parallel.num_local_devices()
        size = max(1, _TREES_AT_ONCE // P) * P
        for begin in range(0, len(known), size):
            chosen = known[begin : begin + size]
            padded = np.pad(chosen, (0, size - len(chosen)), constant_values=-1)
            part = parallel.split_over_devices((states[padded], trees(padded)))
            states[chosen] = parallel.join_devices(self._join(variables, part))[: len(chosen)]

    def _windows(
        self, variables, events: Events, history_ends, lengths, first_time: int, request_times
    ) -> np.ndarray:
        """States after events[end - length : end] [S], none of them empty."""
        layout, last = pack_windows(history_ends - lengths, lengths, self.row_length)
        request = events.times[
            np.minimum(layout.sources + 1, len(events.times) - 1)
        ]  # as in training: the next event's
        request.reshape(-1)[last] = (
            events.times[history_ends - 1] if request_times is None else request_times
        )
        rows = [
            self._encode_rows(
                variables,
                gather_rows(events, layout, at, np.arange(self.rows_per_call), first_time, request),
            )
            for at in range(0, len(layout.segments), self.rows_per_call)
        ]
        return np.concatenate(rows).reshape(-1, self.model.config.width)[last]

    def _encode_rows(self, variables: dict, batch: Batch) -> np.ndarray:
        return parallel.join_devices(self._encode(variables, parallel.split_over_devices(batch)))


# What is compiled, by names that a profile shows.


def _encode_items(model: RecommenderModel, variables: dict) -> Array:
    return model.bind(variables).encode_items()


def _encode_users(model: RecommenderModel, variables: dict, batch: Batch) -> Array:
    return model.bind(variables).encode_users(batch)


def _join_trees(model: RecommenderModel, variables: dict, part: tuple) -> Array:
    return model.bind(variables).join_friends(*part)


def _next_types(model: RecommenderModel, variables: dict, part: tuple) -> Array:
    return jax.nn.softmax(model.bind(variables).type_logits(*part))


def _next_actions(model: RecommenderModel, variables: dict, states: jax.Array) -> Array:
    return jax.nn.softmax(model.bind(variables).action_logits(states))
