"""Where the rows of a big table lie: a bijection, even for runs of numbers, and stable when the
table grows.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialrec_jax.models.embedding_tables import (
    NUM_SHARDS,
    in_number_order,
    in_place_order,
    merge_tables,
    numbers_at,
    places_of,
    rows_per_shard,
    split_tables,
)


@given(st.integers(1, 5000))
def test_places_are_a_bijection_and_numbers_its_inverse(num_rows):
    shard_size = rows_per_shard(num_rows)
    numbers = np.arange(NUM_SHARDS * shard_size)
    places = places_of(numbers, shard_size)
    np.testing.assert_array_equal(np.sort(places), numbers)
    np.testing.assert_array_equal(numbers_at(places, shard_size), numbers)


def test_compiled_places_are_those_of_the_host():
    numbers = np.arange(20_000, dtype=np.int32)
    compiled = jax.jit(places_of, static_argnums=1)(numbers, 400)
    np.testing.assert_array_equal(compiled, places_of(numbers, 400))


@pytest.mark.parametrize("devices", [1, 2, 4, 8, 16, 32, 64])
@given(begin=st.integers(0, 10**6), length=st.integers(0, 5000))
def test_any_run_of_numbers_is_spread_evenly(devices, begin, length):
    """Rows that are appended, or popular neighbours, are shared by all devices."""
    shard_size = rows_per_shard(begin + length + 1)
    places = places_of(np.arange(begin, begin + length), shard_size)
    per_device = np.bincount(places * devices // (NUM_SHARDS * shard_size), minlength=devices)
    per_shard = NUM_SHARDS // devices
    assert per_device.max() - per_device.min() <= 2 * per_shard


@pytest.mark.parametrize("stride", [2, 8, 64, 128, 4096])
def test_numbers_of_one_residue_are_spread_too(stride):
    shards = places_of(np.arange(0, 640 * stride, stride), 10 * stride) // (10 * stride)
    assert np.bincount(shards, minlength=NUM_SHARDS).max() < 40, "10 are expected"


def test_a_row_keeps_shard_and_index_when_the_table_grows():
    numbers = np.arange(1000)
    for shard_size in (16, 17, 400):
        shard, index = np.divmod(places_of(numbers, shard_size), shard_size)
        expected = np.divmod(places_of(numbers, 16), 16)
        np.testing.assert_array_equal([shard, index], expected)


@pytest.mark.parametrize("num_rows", [1, 63, 64, 65, 1000])
def test_a_table_survives_the_way_there_and_back(num_rows):
    table = np.random.default_rng(0).normal(size=(num_rows, 3))
    placed = in_place_order(table)
    assert len(placed) == NUM_SHARDS * rows_per_shard(num_rows)
    np.testing.assert_array_equal(in_number_order(placed, num_rows), table)


def test_splitting_and_merging_tables_are_inverse():
    params = {"items": {"ids": 1, "gate": 2}, "social": {"features": {"users": 3, "age": 4}}}
    rest, tables = split_tables(params, ("items", "users"))
    assert tables == {"items": 1, "users": 3}
    assert rest == {"items": {"gate": 2}, "social": {"features": {"age": 4}}}
    assert merge_tables(rest, tables) == params
