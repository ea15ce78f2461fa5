"""Queries in chunks of one shape, several of which are in flight on the devices."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol, TypeVar

import jax
import numpy as np

from socialrec_jax.data.csr import Pairs

Result = TypeVar("Result")

_IN_FLIGHT = 2


def in_flight(calls: Iterable[Result]) -> Iterator[Result]:
    """The results of asynchronous calls, in their order and two calls late.

    So the devices have work while the host reads a result. What a call keeps in memory is kept for
    three calls at most.
    """
    waiting: deque[Result] = deque()
    for result in calls:
        _start_copies_to_host(result)
        waiting.append(result)
        if len(waiting) > _IN_FLIGHT:
            yield waiting.popleft()
    yield from waiting


def _start_copies_to_host(result) -> None:
    for leaf in jax.tree.leaves(result):
        # Results may carry NumPy arrays, which are on the host already.
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()


def bucket(count: int, devices: int) -> int:
    """The least number >= count that is a power of two on each device: few shapes compile."""
    return devices << max(0, -(-count // devices) - 1).bit_length()


class Rows(Protocol):
    """Query vectors [Q, ...], which may be computed when a slice of them is read."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


class Chunk(NamedTuple):
    """q queries on each of P devices, of which `size` are real."""

    size: int
    queries: np.ndarray  # [P, q, ...]
    seen: tuple[np.ndarray, np.ndarray]  # rows and items [P, n]
    targets: tuple[np.ndarray, np.ndarray]  # rows and items [P, m]; m = 1 without any


def chunks_of(
    queries: Rows, seen: Pairs, targets: Pairs | None, queries_per_part: int, devices: int
) -> Iterator[Chunk]:
    """Successive chunks of queries [Q, ...] with their (row, item) pairs.

    All chunks have one shape, but for the number of targets: a padded target costs as much as a
    real one, so they are padded to what their chunk needs.
    """
    Q = len(queries)
    targets = targets or Pairs(np.zeros(Q + 1, np.int64), np.zeros(0, np.int32))
    q = min(queries_per_part, bucket(Q, devices) // devices)
    num_chunks = -(-Q // (q * devices))
    # The queries of one device lie between two bounds.
    bounds = np.minimum(q * np.arange(num_chunks * devices + 1), Q)
    num_seen = _most_pairs(seen, bounds)
    for first in range(0, num_chunks * devices, devices):
        chunk_bounds = bounds[first : first + devices + 1]
        begin, end = int(chunk_bounds[0]), int(chunk_bounds[-1])
        yield Chunk(
            size=end - begin,
            queries=_split(queries[begin:end], devices, q),
            seen=_pad_pairs(seen, chunk_bounds, num_seen, q),
            targets=_pad_pairs(targets, chunk_bounds, _most_pairs(targets, chunk_bounds), q),
        )


def _most_pairs(pairs: Pairs, bounds: np.ndarray) -> int:
    """The largest number of pairs of the queries between two bounds."""
    return int(np.diff(pairs.offsets[bounds]).max(initial=0))


def _split(rows: np.ndarray, devices: int, q: int) -> np.ndarray:
    """Rows [n, ...] as [devices, q, ...], with zeros at the end."""
    missing = devices * q - len(rows)
    if missing:
        rows = np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1))
    return rows.reshape(devices, q, *rows.shape[1:])


def _pad_pairs(
    pairs: Pairs, bounds: np.ndarray, count: int, pad_row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and items [P, n] of the queries between each two bounds; n >= count, a power of two.

    Padding points at pad_row, one past the last query.
    """
    parts = [pairs.part(begin, end) for begin, end in itertools.pairwise(bounds)]
    shape = (len(parts), bucket(count, 1))
    rows, items = np.full(shape, pad_row, np.int32), np.zeros(shape, np.int32)
    for device, part in enumerate(parts):
        rows[device, : len(part.items)] = part.owners
        items[device, : len(part.items)] = part.items
    return rows, items
