"""Ragged rows in CSR form: one array of entries, and offsets that say where each row begins."""

from __future__ import annotations

import dataclasses

import numpy as np


def offsets_of(owners: np.ndarray, count: int) -> np.ndarray:
    """CSR offsets [count + 1] int64 of sorted owner numbers."""
    lengths = np.bincount(owners, minlength=count)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def sorted_distinct(values: np.ndarray) -> np.ndarray:
    """The distinct values [m], ascending.

    It sorts. `np.unique` hashes since NumPy 2.3, and millions of keys take twenty times as long
    (docs/results/scale.md).
    """
    ordered = np.sort(values)
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def is_among(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Which of values [n] bool are among others [m], which are sorted."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    places = np.searchsorted(ascending, values)
    return ascending[np.minimum(places, len(ascending) - 1)] == values


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each range [S], one range after the other: the rows of slices."""
    placed_before = np.cumsum(lengths) - lengths
    return np.repeat(starts - placed_before, lengths) + np.arange(lengths.sum())


def first_at_or_after(
    times: np.ndarray, starts: np.ndarray, stops: np.ndarray, query_times: np.ndarray
) -> np.ndarray:
    """First row [Q] of each sorted slice times[start:stop] that is not before its query time.

    It is `stop` where all rows are before. Bisects all slices at once, which needs no key column
    of users and times together.
    """
    # copies, which the loop narrows; the columns may be mapped read-only
    low, high = np.array(starts, np.int64), np.array(stops, np.int64)
    while (searching := low < high).any():
        middle = np.where(searching, (low + high) // 2, 0)
        # a slice that is done reads row 0 and ignores it
        before = times[middle] < query_times
        low = np.where(searching & before, middle + 1, low)
        high = np.where(searching & ~before, middle, high)
    return low


@dataclasses.dataclass(frozen=True)
class Pairs:
    """(query, item) pairs grouped by query: query q owns items[offsets[q]:offsets[q + 1]]."""

    offsets: np.ndarray  # [Q + 1] int64
    items: np.ndarray  # int32

    @property
    def owners(self) -> np.ndarray:
        """The query [n] of each pair."""
        lengths = np.diff(self.offsets)
        return np.repeat(np.arange(len(lengths)), lengths)

    def distinct(self, num_items: int) -> tuple[np.ndarray, np.ndarray]:
        """(query [n], item [n]) of all pairs, each once, in their order."""
        keys = sorted_distinct(self.owners * num_items + self.items)
        return keys // num_items, keys % num_items

    def count_distinct(self, num_items: int) -> np.ndarray:
        """How many different items each query [Q] has."""
        owners, _ = self.distinct(num_items)
        return np.bincount(owners, minlength=len(self.offsets) - 1)

    def part(self, begin: int, end: int) -> Pairs:
        """The pairs of the queries begin..end - 1."""
        offsets = self.offsets[begin : end + 1]
        return Pairs(offsets - offsets[0], self.items[offsets[0] : offsets[-1]])

    def rows_of(self, queries: np.ndarray) -> np.ndarray:
        """Where the pairs of some queries lie."""
        starts = self.offsets[queries]
        return ranges(starts, self.offsets[queries + 1] - starts)

    def of(self, queries: np.ndarray) -> Pairs:
        """The pairs of some queries alone."""
        lengths = self.offsets[queries + 1] - self.offsets[queries]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Pairs(offsets, self.items[self.rows_of(queries)])
