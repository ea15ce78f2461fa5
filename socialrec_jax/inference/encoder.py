"""Histories to user states, through the same packed batches and model call as in training."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import numpy as np

from socialrec_jax.batch import Batch, FriendTrees
from socialrec_jax.config import Config, required
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.batching.layout import gather_rows, pack_windows
from socialrec_jax.data.query import Query
from socialrec_jax.inference.chunks import in_flight
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime import background, parallel
from socialrec_jax.shapes import Array

_TOKENS_AT_ONCE = 8192  # on all devices
_QUERIES_AT_ONCE = 65536  # packed together; bounds host memory
_TREES_AT_ONCE = 256  # on all devices


@functools.lru_cache(maxsize=4)
def encoder_of(model: RecommenderModel, config: Config) -> Encoder:
    """The same encoder for everyone with the same model, so that nothing compiles twice."""
    return Encoder(model, config)


class Encoder:
    """The compiled model; its variables [tree on all devices] are given with each call.

    types: (variables, (states [P, q, k, D], items [P, q, k])) -> [P, q, k, A], how each user would
    act on each item if it came next. actions: (variables, states [q, D]) -> [q, A], whatever comes
    next.
    """

    def __init__(self, model: RecommenderModel, config: Config):
        self.model = model
        self.row_length = required(config.model.history_length)
        P = parallel.num_local_devices()
        self.rows_per_call = P * max(1, _TOKENS_AT_ONCE // self.row_length // P)
        self.trees_per_call = P * max(1, _TREES_AT_ONCE // P)
        self._catalogue = jax.jit(functools.partial(_encode_items, model))
        self._encode = parallel.map_devices(functools.partial(_encode_users, model))
        self._join_friends = parallel.map_devices(functools.partial(_join_friends, model))
        self.types = parallel.map_devices(functools.partial(_next_types, model))
        self.actions = jax.jit(functools.partial(_next_actions, model))

    def catalogue(self, variables: dict) -> jax.Array:
        """The item vectors [V, D], on all local devices."""
        return parallel.replicate(self._catalogue(variables))

    def states(self, variables: dict, query: Query, first_time: int) -> np.ndarray:
        """The state [Q, D] float32 of each query.

        Only the last T visible events count. Models that see the request time take that of the last
        visible event where the query has none. Models with friends read them where the query has a
        friend sampler.

        A query without history gets a state of zeros, even for a user with friends: popular items
        serve it better (on Ciao by two thirds), and the ranker has features of friends.
        """
        states = np.zeros((len(query), self.model.config.width), np.float32)
        # Users without history are not encoded: an empty row has no state.
        known = np.flatnonzero(query.history_ends > query.events.offsets[query.users])
        for begin in range(0, len(known), _QUERIES_AT_ONCE):
            rows = known[begin : begin + _QUERIES_AT_ONCE]
            states[rows] = self._encode_histories(variables, query.part(rows), first_time)
        if self.model.num_users and query.friend_sampler is not None:
            self._add_friends(variables, states, known, query, query.friend_sampler)
        return states

    def _add_friends(
        self,
        variables: dict,
        states: np.ndarray,
        known: np.ndarray,
        query: Query,
        friend_sampler: FriendSampler,
    ) -> None:
        """Join friends into states [Q, D] of the queries `known`, in chunks of one size."""
        size = self.trees_per_call
        chunks = [known[begin : begin + size] for begin in range(0, len(known), size)]
        parts = (_with_trees(states, rows, size, query, friend_sampler) for rows in chunks)
        # Another thread samples trees while the devices work.
        calls = (self._join_friends(variables, part) for part in background.prefetch(parts))
        for rows, joined in zip(chunks, in_flight(calls), strict=True):
            states[rows] = parallel.join_devices(joined)[: len(rows)]

    def _encode_histories(self, variables: dict, query: Query, first_time: int) -> np.ndarray:
        """States [S, D] of queries with at least one visible event each."""
        events, ends = query.events, query.history_ends
        lengths = np.minimum(ends - events.offsets[query.users], self.row_length)
        layout, last = pack_windows(ends - lengths, lengths, self.row_length)
        # As in training, the request time of an event is the time of the next one.
        next_rows = np.minimum(layout.sources + 1, len(events.times) - 1)
        request_times = events.times[next_rows]
        # After the last event comes the request, at the time of that event where it has none.
        last_times = query.request_times
        if last_times is None:
            last_times = events.times[ends - 1]
        request_times.reshape(-1)[last] = last_times
        row_ids = np.arange(self.rows_per_call)
        batches = (
            gather_rows(events, layout, begin, row_ids, first_time, request_times)
            for begin in range(0, len(layout.segments), self.rows_per_call)
        )
        states = np.concatenate(list(self._encode_rows(variables, batches)))
        return states.reshape(-1, self.model.config.width)[last]

    def _encode_rows(self, variables: dict, batches: Iterator[Batch]) -> Iterator[np.ndarray]:
        """States [rows, T, D] of each batch; another thread makes the batches."""
        parts = map(parallel.split_over_devices, batches)
        calls = (self._encode(variables, part) for part in background.prefetch(parts))
        yield from map(parallel.join_devices, in_flight(calls))


def _with_trees(
    states: np.ndarray, rows: np.ndarray, size: int, query: Query, sampler: FriendSampler
) -> tuple[np.ndarray, FriendTrees]:
    """(states [P, q, D], their friends' trees) of the queries `rows`, padded to `size`."""
    # One size compiles. The last chunk repeats its last query, with a user who has no friends.
    padding = size - len(rows)
    padded = np.pad(rows, (0, padding), mode="edge")
    users = np.pad(query.users[rows], (0, padding), constant_values=-1)
    trees = sampler.sample(users, query.query_times[padded])
    return parallel.split_over_devices((states[padded], trees))


# The compiled functions have names of their own, which a profile shows.


def _encode_items(model: RecommenderModel, variables: dict) -> Array:
    return model.bind(variables).encode_items()


def _encode_users(model: RecommenderModel, variables: dict, batch: Batch) -> Array:
    return model.bind(variables).encode_users(batch)


def _join_friends(model: RecommenderModel, variables: dict, part: tuple) -> Array:
    return model.bind(variables).join_friends(*part)


def _next_types(model: RecommenderModel, variables: dict, part: tuple) -> Array:
    return jax.nn.softmax(model.bind(variables).type_logits(*part))


def _next_actions(model: RecommenderModel, variables: dict, states: jax.Array) -> Array:
    return jax.nn.softmax(model.bind(variables).action_logits(states))
