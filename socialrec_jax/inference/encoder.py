"""Histories to user states, through the same batches and model call as in training."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.batch import Batch, FriendTrees
from socialrec_jax.config import Config, required
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.batching.layout import (
    PackedLayout,
    gather_rows,
    one_window_a_row,
    own_row_lengths,
)
from socialrec_jax.data.query import Query
from socialrec_jax.inference.chunks import in_flight
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime import background, parallel
from socialrec_jax.shapes import Array

# On all devices. A call of one user is as long as any, so it is short where products are slow.
_TOKENS_AT_ONCE, _TOKENS_AT_ONCE_ON_CPU = 8192, 2048
_LEAST_ROW_LENGTH = 8  # of a history
_QUERIES_AT_ONCE = 65536  # laid out together; bounds host memory
_TREES_AT_ONCE = 256  # on all devices


def encoder_of(model: RecommenderModel, config: Config) -> Encoder:
    """The same encoder for everyone with the same model, so that nothing compiles twice."""
    row_length = required(config.model.history_length)
    return _encoder(model, row_length)  # pyright: ignore[reportArgumentType] - Flax hashes it


@functools.lru_cache(maxsize=4)
def _encoder(model: RecommenderModel, row_length: int) -> Encoder:
    return Encoder(model, row_length)


class Encoder:
    """The compiled model; its variables [tree on all devices] are given with each call.

    types: (variables, (states [P, n, D], items [P, n])) -> [P, n, A], how each user would
    act on each item if it came next. actions: (variables, states [P, q, D]) -> [P, q, A], whatever
    comes next.
    """

    def __init__(self, model: RecommenderModel, row_length: int):
        """row_length: T, events of a history."""
        self.model = model
        self.row_length = row_length
        P = parallel.num_local_devices()
        self.trees_per_call = P * max(1, _TREES_AT_ONCE // P)
        self._catalogue = jax.jit(functools.partial(_encode_items, model), static_argnums=1)
        self._encode = parallel.map_devices(functools.partial(_encode_users, model))
        self._join_friends = parallel.map_devices(functools.partial(_join_friends, model))
        self.types = parallel.map_devices(functools.partial(_next_types, model))
        self.actions = parallel.map_devices(functools.partial(_next_actions, model))

    def catalogue(self, variables: dict, num_items: int) -> jax.Array:
        """The vectors [num_items, D] of the first items, on all local devices."""
        return parallel.replicate(self._catalogue(variables, num_items))

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
        """States [S, D] of queries with at least one visible event each.

        A history has a row of its own, whose length follows from its own events alone. So its state
        has the same bytes whatever other queries there are.
        """
        starts = query.events.offsets[query.users]
        lengths = np.minimum(query.history_ends - starts, self.row_length)
        row_lengths = own_row_lengths(lengths, _LEAST_ROW_LENGTH, self.row_length)
        states = np.zeros((len(query), self.model.config.width), np.float32)
        for row_length in np.unique(row_lengths).tolist():
            rows = np.flatnonzero(row_lengths == row_length)
            batches = self._batches(query.part(rows), lengths[rows], row_length, first_time)
            states[rows] = np.concatenate(list(self._encode_rows(variables, batches)))[: len(rows)]
        return states

    def _batches(
        self, query: Query, lengths: np.ndarray, row_length: int, first_time: int
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """(Batch, column [rows] of each row's last event) of successive queries, the newest
        `lengths` [S] events of each.
        """
        events, ends = query.events, query.history_ends
        layout = one_window_a_row(ends - lengths, lengths, row_length)
        request_times = _request_times(query, layout, lengths)
        size = self._rows_per_call(row_length)
        for begin in range(0, len(query), size):
            row_ids = np.arange(size)
            batch = gather_rows(events, layout, begin, row_ids, first_time, request_times)
            last = lengths[begin : begin + size] - 1
            yield batch, np.pad(last, (0, size - len(last))).astype(np.int32)

    def _rows_per_call(self, row_length: int) -> int:
        """Always as many, the same on each device, so that it compiles once."""
        devices = parallel.num_local_devices()
        tokens = _TOKENS_AT_ONCE if parallel.has_accelerator() else _TOKENS_AT_ONCE_ON_CPU
        return devices * max(1, tokens // row_length // devices)

    def _encode_rows(
        self, variables: dict, batches: Iterator[tuple[Batch, np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """States [rows, D] of each batch; another thread makes the batches."""
        parts = map(parallel.split_over_devices, batches)
        calls = (self._encode(variables, part) for part in background.prefetch(parts))
        yield from map(parallel.join_devices, in_flight(calls))


def _request_times(query: Query, layout: PackedLayout, lengths: np.ndarray) -> np.ndarray:
    """The request times [S, T] of a layout of queries with `lengths` [S] events each."""
    times = query.events.times
    # As in training, the request time of an event is the time of the next one.
    request_times = times[np.minimum(layout.sources + 1, len(times) - 1)]
    # After the last event comes the request, at the time of that event where it has none.
    last_times = query.request_times
    if last_times is None:
        last_times = times[query.history_ends - 1]
    request_times[np.arange(len(query)), lengths - 1] = last_times
    return request_times


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


def _encode_items(model: RecommenderModel, variables: dict, num_items: int) -> Array:
    return model.bind(variables).encode_items()[:num_items]


def _encode_users(
    model: RecommenderModel, variables: dict, part: tuple[Batch, jax.Array]
) -> jax.Array:
    batch, last = part
    states = model.bind(variables).encode_users(batch)
    # One state a row goes to the host.
    return jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]


def _join_friends(model: RecommenderModel, variables: dict, part: tuple) -> Array:
    return model.bind(variables).join_friends(*part)


def _next_types(model: RecommenderModel, variables: dict, part: tuple) -> Array:
    return jax.nn.softmax(model.bind(variables).type_logits(*part))


def _next_actions(model: RecommenderModel, variables: dict, states: Array) -> Array:
    return jax.nn.softmax(model.bind(variables).action_logits(states))
