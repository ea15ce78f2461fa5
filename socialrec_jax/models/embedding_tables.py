"""The embedding tables among a model's parameters: the only ones that grow with the shop.

Each has a path in the parameter tree. Training may keep a big one apart from the other parameters
(`training/row_adagrad.py`), and `merge_tables` puts it back for evaluation and serving.

A table that is kept apart lies in 64 shards. Row v is in the shard

    (v mod 64) xor (hash32(v div 64) mod 64),   at index v div 64.

This has three properties. Each run of 64 numbers has one row in every shard, so popular or new rows
with neighbouring numbers are spread evenly. The place depends on v alone, so a table grows at the
end of its shards, and no row moves. Any number of devices that divides 64 can hold the shards.
"""

from __future__ import annotations

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from socialrec_jax.models.hashing import hash32
from socialrec_jax.shapes import Array, Ints

PATHS = {
    "items": ("items", "ids"),
    "users": ("social", "features", "users"),
}
NUM_SHARDS = 64  # a checkpoint depends on it: see docs/scaling.md


def split_tables(params: dict, names: tuple[str, ...]) -> tuple[dict, dict]:
    """(params without some tables, {name: table [V, D]})."""
    flat = flatten_dict(params)
    tables = {}
    for name in names:
        tables[name] = flat.pop(PATHS[name])
    return unflatten_dict(flat), tables


def merge_tables(params: dict, tables: dict) -> dict:
    """The inverse of `split_tables`."""
    flat = flatten_dict(params)
    for name, table in tables.items():
        flat[PATHS[name]] = table
    return unflatten_dict(flat)


def rows_per_shard(num_rows: int) -> int:
    """Rows of each shard of a table of num_rows; some shards have one that is not used."""
    return -(-num_rows // NUM_SHARDS)


def places_of(numbers: Ints[Array, "*S"], shard_size: int) -> Ints[Array, "*S"]:
    """The place of each row number 0..64 n - 1 in shards of n = shard_size rows, one after the
    other.
    """
    index = numbers // NUM_SHARDS
    lane = numbers % NUM_SHARDS
    shard = lane ^ _mask(index)
    return shard * shard_size + index


def numbers_at(places: Ints[Array, "*S"], shard_size: int) -> Ints[Array, "*S"]:
    """The inverse of `places_of`."""
    shard = places // shard_size
    index = places % shard_size
    # xor with the same mask undoes itself.
    lane = shard ^ _mask(index)
    return index * NUM_SHARDS + lane


def in_number_order(rows: Array, num_rows: int) -> Array:
    """A table [num_rows, D] from its rows by place [64 n, D]."""
    shard_size = len(rows) // NUM_SHARDS
    places = places_of(np.arange(num_rows), shard_size)
    return rows[places]


def in_place_order(table: np.ndarray) -> np.ndarray:
    """The inverse of `in_number_order`; rows that are not used are zeros."""
    shard_size = rows_per_shard(len(table))
    padding = NUM_SHARDS * shard_size - len(table)
    # All shards are equally long.
    padded = np.pad(table, [(0, padding), (0, 0)])
    numbers = numbers_at(np.arange(len(padded)), shard_size)
    return padded[numbers]


def _mask(index: Ints[Array, "*S"]) -> Ints[Array, "*S"]:
    """What the shard's number is xor-ed with, 0..63."""
    # A hash, or numbers that are multiples of 64 would all lie in one shard.
    hashes = hash32(index.astype(np.uint32))
    return (hashes % NUM_SHARDS).astype(index.dtype)
