"""What the three kernels share: the inputs of a call, and the logits of a block of pairs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

# Logits are to the base of 2: GPUs compute powers of 2 faster than those of e.
LOG2_E = math.log2(math.e)
# Of a pair that is masked. Finite, so that a maximum over masked pairs is.
MASKED = -1e30

# A reference to memory in a kernel; an array outside of it.
Ref = Any


class BlockSizes(NamedTuple):
    """How many queries and keys a kernel computes at once."""

    queries: int
    keys: int


class Packing(NamedTuple):
    """What decides which pairs are visible, and their distances: [B, T], in a kernel [T]."""

    segments: Ref
    query_times: Ref
    key_times: Ref
    first: Ref  # the first position of the position's segment
    last: Ref  # the last one


class Tables(NamedTuple):
    """The bias tables as kernels read them: heads first, to the base of 2; in a kernel one head."""

    time: Ref  # [H, R]
    position: Ref  # [H, J]


class Inputs(NamedTuple):
    """What attention reads; a kernel sees one row and one head of it."""

    query: Ref  # [B, T, H, K]
    key: Ref
    value: Ref
    packing: Packing
    tables: Tables | None


class Positions(NamedTuple):
    """Some consecutive positions of a row, as a column [n, 1] or a row [1, n] of pairs."""

    numbers: jax.Array
    segments: jax.Array
    times: jax.Array

    def as_column(self) -> Positions:
        return Positions(*(values[:, None] for values in self))

    def as_row(self) -> Positions:
        return Positions(*(values[None, :] for values in self))


class Pairs(NamedTuple):
    """A block of pairs: which are visible, and how far apart each is."""

    visible: jax.Array
    seconds: jax.Array
    steps: jax.Array


def load_queries(packing: Packing, start: jax.Array, size: int) -> Positions:
    """The queries at positions start..start + size."""
    return _load_positions(packing, packing.query_times, start, size)


def load_keys(packing: Packing, start: jax.Array, size: int) -> Positions:
    """The keys at positions start..start + size."""
    return _load_positions(packing, packing.key_times, start, size)


def _load_positions(packing: Packing, times: Ref, start: jax.Array, size: int) -> Positions:
    span = pl.ds(start, size)
    numbers = start + jnp.arange(size, dtype=jnp.int32)
    return Positions(numbers, packing.segments[span], times[span])


def visible_key_blocks(
    packing: Packing, start: jax.Array, sizes: BlockSizes
) -> tuple[jax.Array, jax.Array]:
    """Blocks of keys, first and end, that the queries from start on may attend to."""
    # Segments are contiguous: nothing before the first query's segment is visible.
    first_block = lax.div(packing.first[start], jnp.int32(sizes.keys))
    end_key = start + sizes.queries
    return first_block, pl.cdiv(end_key, jnp.int32(sizes.keys))


def pairs_of(queries: Positions, keys: Positions) -> Pairs:
    """All pairs of queries and keys; one is a column and the other a row."""
    steps = queries.numbers - keys.numbers
    same_segment = queries.segments == keys.segments
    return Pairs(same_segment & (steps >= 0), queries.times - keys.times, steps)


def masked_logits(products: jax.Array, pairs: Pairs, tables: Tables | None) -> jax.Array:
    """Products with the bias of each pair, where it is visible."""
    logits = products
    if tables is not None:
        logits = logits + tables.time[bucket_of(pairs.seconds, tables.time)]
        logits = logits + tables.position[bucket_of(pairs.steps, tables.position)]
    return jnp.where(pairs.visible, logits, MASKED)


def bucket_of(distance: jax.Array, table: Ref) -> jax.Array:
    """`log_buckets`, from the exponent of a float: on a GPU twice as fast as counting bits."""
    distance = jnp.maximum(distance, 0)
    # Without the bit below the highest one, rounding to 24 bits never reaches the next power of 2.
    rounded_down = distance & ~(distance >> 1)
    bits = lax.bitcast_convert_type(rounded_down.astype(jnp.float32), jnp.int32)
    exponent = bits >> 23
    # 1.0 has the exponent 127.
    return jnp.clip(exponent - 126, 0, table.shape[-1] - 1)


def product(left: jax.Array, right: jax.Array) -> jax.Array:
    """left @ right, added up in float32."""
    return _dot(left, right, contracted=0)


def product_with_transposed(left: jax.Array, right: jax.Array) -> jax.Array:
    """left @ right.T, added up in float32."""
    return _dot(left, right, contracted=1)


def _dot(left: jax.Array, right: jax.Array, contracted: int) -> jax.Array:
    dimensions = (((1,), (contracted,)), ((), ()))
    return lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32)
