"""Two columns that are read as one, without a copy of either.

A World's columns may lie on disk and hold gigabytes; what a request adds to them is small.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np

from socialrec_jax.data.world import Events


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedColumn:
    """The rows of `first`, and those of `second` after them; it is read by arrays of rows alone."""

    first: np.ndarray  # [n], at least one row
    second: np.ndarray  # [m], of the same type

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        is_second = rows >= len(self.first)
        values = self.first[np.where(is_second, 0, rows)]
        values[is_second] = self.second[rows[is_second] - len(self.first)]
        return values


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both columns as one, for reading by arrays of rows."""
    if not len(first):
        return second
    # Whoever reads a column by rows needs no more of an array than this.
    return cast(np.ndarray, JoinedColumn(first, second)) if len(second) else first


def joined_offsets(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The CSR offsets of two tables of rows, the second after the first."""
    num_rows = first[np.array([len(first) - 1])]
    return joined(first, num_rows + second[1:])


def joined_events(first: Events, second: Events) -> Events:
    """The events of the users of both, those of `second` numbered after those of `first`."""
    return Events(
        offsets=joined_offsets(first.offsets, second.offsets),
        items=joined(first.items, second.items),
        times=joined(first.times, second.times),
        types=joined(first.types, second.types),
        values=joined(first.values, second.values),
    )


def events_at(events: Events, rows: np.ndarray, offsets: np.ndarray) -> Events:
    """A copy of the events at rows [n], for the users of other offsets."""
    return Events(
        offsets=offsets,
        items=events.items[rows],
        times=events.times[rows],
        types=events.types[rows],
        values=events.values[rows],
    )
