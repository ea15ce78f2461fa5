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
    """What decides which pairs are visible: [B, T], in a kernel [T]."""

    segments: Ref
    first: Ref  # the first position of the position's segment
    last: Ref  # the last one


class Inputs(NamedTuple):
    """What attention reads; a kernel sees one row and one head of it."""

    query: Ref  # [B, T, H, K]
    key: Ref
    value: Ref
    packing: Packing


class Positions(NamedTuple):
    """Some consecutive positions of a row, as a column [n, 1] or a row [1, n] of pairs."""

    numbers: jax.Array
    segments: jax.Array

    def as_column(self) -> Positions:
        return Positions(*(values[:, None] for values in self))

    def as_row(self) -> Positions:
        return Positions(*(values[None, :] for values in self))


def load_positions(packing: Packing, start: jax.Array, size: int) -> Positions:
    """The positions start..start + size."""
    numbers = start + jnp.arange(size, dtype=jnp.int32)
    return Positions(numbers, packing.segments[pl.ds(start, size)])


def visible_key_blocks(
    packing: Packing, start: jax.Array, sizes: BlockSizes
) -> tuple[jax.Array, jax.Array]:
    """Blocks of keys, first and end, that the queries from start on may attend to."""
    # Segments are contiguous: nothing before the first query's segment is visible.
    first_block = lax.div(packing.first[start], jnp.int32(sizes.keys))
    end_key = start + sizes.queries
    return first_block, pl.cdiv(end_key, jnp.int32(sizes.keys))


def masked_logits(products: jax.Array, queries: Positions, keys: Positions) -> jax.Array:
    """Products of the pairs that are visible; one of queries and keys is a column, one a row."""
    not_later = queries.numbers >= keys.numbers
    same_segment = queries.segments == keys.segments
    return jnp.where(same_segment & not_later, products, MASKED)


def product(left: jax.Array, right: jax.Array) -> jax.Array:
    """left @ right, added up in float32."""
    return _dot(left, right, contracted=0)


def product_with_transposed(left: jax.Array, right: jax.Array) -> jax.Array:
    """left @ right.T, added up in float32."""
    return _dot(left, right, contracted=1)


def _dot(left: jax.Array, right: jax.Array, contracted: int) -> jax.Array:
    dimensions = (((1,), (contracted,)), ((), ()))
    return lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32)
