"""Queries in chunks of one shape, several of which are in flight on the devices."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, TypeVar

import jax
import numpy as np

from socialrec_jax.data.csr import Pairs
from socialrec_jax.runtime import parallel

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


def map_padded(function: Callable, shared, rows, size: int):
    """function(shared, rows [q, ...]) on all devices, the rows padded to one compiled size >= q."""
    P = parallel.num_local_devices()
    q, size = _num_rows(rows), -(-size // P) * P

    def pad(leaf: np.ndarray) -> np.ndarray:
        if size == q:
            return leaf
        return np.pad(leaf, [(0, size - q)] + [(0, 0)] * (leaf.ndim - 1))

    parts = parallel.split_over_devices(jax.tree.map(pad, rows))
    results = parallel.join_devices(function(shared, parts))
    return jax.tree.map(lambda leaf: leaf[:q], results)


def map_in_chunks(function: Callable, shared, rows, size: int):
    """`map_padded` of any number of rows, `size` at a time: a row does not depend on the others."""
    # Without any row, one call still gives the shape of the results.
    starts = range(0, max(_num_rows(rows), 1), size)
    parts = (_rows_at(rows, slice(begin, begin + size)) for begin in starts)
    results = [map_padded(function, shared, part, size) for part in parts]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)


def _rows_at(rows, some: slice):
    return jax.tree.map(lambda leaf: leaf[some], rows)


def _num_rows(rows) -> int:
    return len(jax.tree.leaves(rows)[0])


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

    A chunk has one number of queries whatever Q is: products of other shapes may add up in another
    order, and a query must get the same bytes alone and among others. Seen pairs are padded to one
    number, targets to what their chunk needs, since a padded one costs as much as a real one.
    """
    Q = len(queries)
    targets = targets or Pairs(np.zeros(Q + 1, np.int64), np.zeros(0, np.int32))
    q = queries_per_part
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
