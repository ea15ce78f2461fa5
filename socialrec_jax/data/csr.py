"""Ragged rows in CSR form: one array of entries, and offsets that say where each row begins."""

from __future__ import annotations

import dataclasses

import numpy as np


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each range [S], one range after the other: the rows of slices in CSR
    form.
    """
    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())


def first_at_or_after(
    times: np.ndarray, starts: np.ndarray, stops: np.ndarray, query_times: np.ndarray
) -> np.ndarray:
    """First row of each sorted slice times[start:stop] [Q] that is not before its moment; stop
    where all are.

    A bisection of all slices at once, which needs no key column of users and times together.
    """
    low, high = np.array(starts, np.int64), np.array(stops, np.int64)
    while (searching := low < high).any():
        middle = np.where(searching, (low + high) // 2, 0)
        before = times[middle] < query_times
        low = np.where(searching & before, middle + 1, low)
        high = np.where(searching & ~before, middle, high)
    return low


@dataclasses.dataclass(frozen=True)
class Pairs:
    """(query, item) pairs grouped by query: query q owns items[offsets[q]:offsets[q + 1]]."""

    offsets: np.ndarray  # [Q + 1] int64
    items: np.ndarray  # int32

    def part(self, begin: int, end: int) -> Pairs:
        return Pairs(
            self.offsets[begin : end + 1] - self.offsets[begin],
            self.items[self.offsets[begin] : self.offsets[end]],
        )

    def rows_of(self, queries: np.ndarray) -> np.ndarray:
        """Where the pairs of some queries lie."""
        return ranges(self.offsets[queries], self.offsets[queries + 1] - self.offsets[queries])

    def of(self, queries: np.ndarray) -> Pairs:
        """The pairs of some queries alone."""
        lengths = self.offsets[queries + 1] - self.offsets[queries]
        return Pairs(np.concatenate([[0], np.cumsum(lengths)]), self.items[self.rows_of(queries)])
