"""Best-fit-decreasing bin packing of sequences into rows, offline and vectorised.

Short histories padded to a long row waste most of the arithmetic (real shops fill 12-30% of it);
packed rows are full. Sequences of one length are interchangeable, so whole groups are placed at
once and a million sequences pack in milliseconds, where the textbook loop needs seconds.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Packing:
    """Where each of S sequences lies."""

    rows: np.ndarray  # [S] int64
    columns: np.ndarray  # [S] int64, its first position in the row
    num_rows: int


def pack(lengths: np.ndarray, row_length: int) -> Packing:
    """Best-fit-decreasing packing of sequences of `lengths` [S] (1..row_length) into rows of
    `row_length`.

    Each sequence goes, longest first, to the open row that it fills best; within one length the
    given order decides. Raises ValueError where a length is out of range.
    """
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= row_length:
        raise ValueError(
            f"lengths {lengths.min()}..{lengths.max()} do not fit rows of {row_length}"
        )
    rows, columns = np.empty(len(lengths), np.int64), np.empty(len(lengths), np.int64)
    by_length = np.argsort(-lengths, kind="stable")
    groups = np.split(by_length, np.flatnonzero(np.diff(lengths[by_length])) + 1)
    open_rows: dict[int, np.ndarray] = {}  # room left -> rows that have it
    num_rows = 0
    for waiting in groups if len(lengths) else []:
        length = int(lengths[waiting[0]])
        while len(waiting):
            room = min((room for room in open_rows if room >= length), default=row_length)
            if room not in open_rows:
                opened = -(-len(waiting) // (row_length // length))
                open_rows[room] = np.arange(num_rows, num_rows + opened)
                num_rows += opened
            candidates, fits = open_rows.pop(room), room // length
            placed, waiting = np.split(waiting, [len(candidates) * fits])
            slot = np.arange(len(placed))
            rows[placed] = candidates[slot // fits]
            columns[placed] = row_length - room + length * (slot % fits)
            _reopen(
                open_rows,
                candidates,
                room,
                length,
                np.bincount(slot // fits, minlength=len(candidates)),
            )
    return Packing(rows, columns, num_rows)


def _reopen(
    open_rows: dict[int, np.ndarray], rows: np.ndarray, room: int, length: int, taken: np.ndarray
) -> None:
    """File `rows`, which had `room` and took `taken` sequences of `length`, under the room that is
    left.
    """
    for count in np.unique(taken):
        left = room - int(count) * length
        if left:
            open_rows[left] = np.concatenate([open_rows.get(left, rows[:0]), rows[taken == count]])
