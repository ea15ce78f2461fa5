"""Packing loses nothing, overlaps nothing and fills rows as best-fit-decreasing does."""

import bisect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialrec_jax.data.batching.packing import pack


def textbook_rows(lengths: list[int], row_length: int) -> int:
    """Number of rows of best-fit-decreasing, one sequence at a time."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        at = bisect.bisect_left(rooms, length)
        room = rooms.pop(at) if at < len(rooms) else row_length
        bisect.insort(rooms, room - length)
    return len(rooms)


@given(st.lists(st.integers(1, 20), max_size=200))
def test_every_position_is_used_once_and_rows_are_as_few_as_the_textbook(lengths):
    packing = pack(np.array(lengths, int), 20)
    used = np.zeros((packing.num_rows, 20), int)
    for row, column, length in zip(packing.rows, packing.columns, lengths, strict=True):
        assert column + length <= 20
        used[row, column : column + length] += 1
    assert used.max(initial=1) == 1
    assert used.sum() == sum(lengths)
    assert packing.num_rows == textbook_rows(lengths, 20)


def test_short_histories_fill_their_rows():
    lengths = np.clip(np.random.default_rng(0).lognormal(1.6, 0.8, 20_000).astype(int), 1, 64)
    assert lengths.sum() / (pack(lengths, 64).num_rows * 64) > 0.99


@pytest.mark.parametrize("lengths", [[0, 3], [3, 21]])
def test_a_sequence_that_fits_no_row_is_named(lengths):
    with pytest.raises(ValueError, match="do not fit"):
        pack(np.array(lengths), 20)
