"""The two backward kernels: gradients of queries and tables, and gradients of keys and values.

With weights p, output o and its gradient do:

    ds = p * (do . v - do . o),   dq = sum_s ds k,   dk = sum_t ds q,   dv = sum_t p do

and a table's gradient is the sum of ds over the pairs of each bucket. Weights are computed again
from the logits and the denominators that the forward kernel has kept.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from socialrec_jax.models.kernels.fused.blocks import (
    LOG2_E,
    BlockSizes,
    Inputs,
    Pairs,
    Positions,
    Ref,
    Tables,
    bucket_of,
    load_keys,
    load_queries,
    masked_logits,
    pairs_of,
    product,
    product_with_transposed,
    visible_key_blocks,
)
from socialrec_jax.models.kernels.fused.grid import Grid, like

QUERY_SIZES = BlockSizes(queries=64, keys=32)
KEY_SIZES = BlockSizes(queries=64, keys=64)


class Saved(NamedTuple):
    """What the backward kernels need besides the inputs."""

    gradient: Ref  # [B, T, H, K] of the output
    log_sums: Ref  # [B, H, T], see forward
    output_products: Ref  # [B, H, T] gradient . output


class _Program(NamedTuple):
    """What a program does not change: its own positions, and all that it reads."""

    positions: Positions
    inputs: Inputs
    saved: Saved
    scale: float


class _Gradients(NamedTuple):
    """Of a block of queries, and of each table [queries, R] before the sum over queries."""

    query: jax.Array
    tables: tuple[jax.Array, ...]


def query_and_table_gradients(
    inputs: Inputs, saved: Saved, scale: float, interpret: bool
) -> tuple[jax.Array, Tables | None]:
    """Gradients of queries [B, T, H, K], and of the tables [H, R] where there are any."""
    grid = Grid(inputs, QUERY_SIZES.queries, backwards=True)
    specs = grid.inputs(inputs, query=grid.block(), key=grid.whole())
    saved_specs = Saved(grid.block(), grid.block_of_sums(), grid.block_of_sums())
    outputs = [like(inputs.query, grid.block()), *grid.table_sums(inputs.tables)]

    kernel = functools.partial(_query_kernel, scale=scale)
    launch = grid.call(kernel, "fused_attention_queries", (specs, saved_specs), outputs, interpret)
    query, *table_sums = launch(inputs, saved)
    return query, _sum_over_programs(table_sums)


def _sum_over_programs(sums: list[jax.Array]) -> Tables | None:
    """Gradients of the tables [H, R] from those of each program [B, H, blocks, R]."""
    if not sums:
        return None
    time, position = (jnp.sum(of_table, axis=(0, 2)) for of_table in sums)
    # The tables that kernels read are to the base of 2.
    return Tables(time / LOG2_E, position / LOG2_E)


def _query_kernel(
    inputs: Inputs, saved: Saved, query_ref: Ref, *table_refs: Ref, scale: float
) -> None:
    start = (pl.num_programs(0) - 1 - pl.program_id(0)) * QUERY_SIZES.queries
    queries = load_queries(inputs.packing, start, QUERY_SIZES.queries).as_column()
    # The program's blocks, read once.
    inputs = inputs._replace(query=inputs.query[...])
    saved = Saved(*(ref[...] for ref in saved))
    add_keys = functools.partial(_add_keys, program=_Program(queries, inputs, saved, scale))

    first_block, end_block = visible_key_blocks(inputs.packing, start, QUERY_SIZES)
    zeros = _zero_gradients(inputs.query, table_refs)
    gradients = lax.fori_loop(first_block, end_block, add_keys, zeros)
    query_ref[...] = (gradients.query * scale).astype(query_ref.dtype)
    for table_ref, sums in zip(table_refs, gradients.tables, strict=True):
        table_ref[...] = jnp.sum(sums, axis=0)


def _zero_gradients(query: jax.Array, table_refs: tuple[Ref, ...]) -> _Gradients:
    sums = [jnp.zeros((len(query), *ref.shape), jnp.float32) for ref in table_refs]
    return _Gradients(jnp.zeros(query.shape, jnp.float32), tuple(sums))


def _add_keys(block: jax.Array, gradients: _Gradients, program: _Program) -> _Gradients:
    """The gradients with what one more block of keys adds."""
    inputs = program.inputs
    start = block * QUERY_SIZES.keys
    span = pl.ds(start, QUERY_SIZES.keys)
    keys = load_keys(inputs.packing, start, QUERY_SIZES.keys).as_row()
    pairs = pairs_of(program.positions, keys)

    key = inputs.key[span, :]
    logits = _logits(inputs.query, key, pairs, program)
    logit_gradients = _logit_gradients(logits, inputs.value[span, :], program.saved)
    query = gradients.query + product(logit_gradients.astype(key.dtype), key)
    return _Gradients(query, _add_to_buckets(gradients.tables, logit_gradients, pairs, inputs))


def _logits(left: jax.Array, right: jax.Array, pairs: Pairs, program: _Program) -> jax.Array:
    """Logits of pairs, to the base of 2; left and right: queries and keys, or keys and queries."""
    products = product_with_transposed(left, right) * (program.scale * LOG2_E)
    return masked_logits(products, pairs, program.inputs.tables)


def _logit_gradients(logits: jax.Array, value: jax.Array, saved: Saved) -> jax.Array:
    """[queries, keys], as in the module's docstring."""
    weights = jnp.exp2(logits - saved.log_sums[:, None])
    weight_gradients = product_with_transposed(saved.gradient, value)
    return weights * (weight_gradients - saved.output_products[:, None])


def _add_to_buckets(
    sums: tuple[jax.Array, ...], gradients: jax.Array, pairs: Pairs, inputs: Inputs
) -> tuple[jax.Array, ...]:
    """sums [queries, R] with the gradients of the pairs of each bucket, table by table."""
    if inputs.tables is None:
        return sums
    time_sums, position_sums = sums
    time_buckets = bucket_of(pairs.seconds, inputs.tables.time)
    position_buckets = bucket_of(pairs.steps, inputs.tables.position)
    return (
        _add_to_table(time_sums, gradients, time_buckets, pairs.visible),
        _add_to_table(position_sums, gradients, position_buckets, pairs.visible),
    )


def _add_to_table(
    sums: jax.Array, gradients: jax.Array, buckets: jax.Array, visible: jax.Array
) -> jax.Array:
    """One comparison a bucket, for the buckets that the block's visible pairs have."""
    num_buckets = sums.shape[1]
    numbers = jnp.arange(num_buckets, dtype=jnp.int32)[None, :]
    # A block holds few of the buckets: windows are short, or their ages alike.
    lowest = jnp.min(jnp.where(visible, buckets, num_buckets - 1))
    highest = jnp.max(jnp.where(visible, buckets, 0))

    def add_bucket(bucket: jax.Array, sums: jax.Array) -> jax.Array:
        in_bucket = jnp.where(buckets == bucket, gradients, 0.0)
        of_queries = jnp.sum(in_bucket, axis=1)
        return sums + jnp.where(numbers == bucket, of_queries[:, None], 0.0)

    return lax.fori_loop(lowest, highest + 1, add_bucket, sums)


def key_and_value_gradients(
    inputs: Inputs, saved: Saved, scale: float, interpret: bool
) -> list[jax.Array]:
    """Gradients of keys and values [B, T, H, K]."""
    grid = Grid(inputs, KEY_SIZES.keys)
    specs = grid.inputs(inputs, query=grid.whole(), key=grid.block())
    saved_specs = Saved(grid.whole(), grid.whole_of_sums(), grid.whole_of_sums())
    outputs = [like(inputs.key, grid.block()), like(inputs.value, grid.block())]

    kernel = functools.partial(_key_kernel, scale=scale)
    launch = grid.call(kernel, "fused_attention_keys", (specs, saved_specs), outputs, interpret)
    return launch(inputs, saved)


def _key_kernel(inputs: Inputs, saved: Saved, key_ref: Ref, value_ref: Ref, scale: float) -> None:
    start = pl.program_id(0) * KEY_SIZES.keys
    keys = load_keys(inputs.packing, start, KEY_SIZES.keys).as_column()
    # The program's blocks, read once.
    inputs = inputs._replace(key=inputs.key[...], value=inputs.value[...])
    add_queries = functools.partial(_add_queries, program=_Program(keys, inputs, saved, scale))

    first_block, end_block = _visible_query_blocks(inputs, start)
    zeros = jnp.zeros(inputs.key.shape, jnp.float32)
    key, value = lax.fori_loop(first_block, end_block, add_queries, (zeros, zeros))
    key_ref[...] = (key * scale).astype(key_ref.dtype)
    value_ref[...] = value.astype(value_ref.dtype)


def _visible_query_blocks(inputs: Inputs, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Blocks of queries, first and end, that may attend to the keys from start on."""
    # The last query that sees a key of the block ends the segment of the last key.
    last_query = inputs.packing.last[start + KEY_SIZES.keys - 1]
    size = jnp.int32(KEY_SIZES.queries)
    return lax.div(start, size), lax.div(last_query, size) + 1


def _add_queries(
    block: jax.Array, gradients: tuple[jax.Array, jax.Array], program: _Program
) -> tuple[jax.Array, jax.Array]:
    """The gradients of keys and values with what one more block of queries adds.

    Pairs are [keys, queries] here, so that the last products take their left side as it is.
    """
    inputs, saved = program.inputs, program.saved
    start = block * KEY_SIZES.queries
    span = pl.ds(start, KEY_SIZES.queries)
    query, gradient = inputs.query[span, :], saved.gradient[span, :]

    queries = load_queries(inputs.packing, start, KEY_SIZES.queries).as_row()
    logits = _logits(inputs.key, query, pairs_of(queries, program.positions), program)
    # What is needed later is read later: registers are scarce.
    weights = jnp.exp2(logits - saved.log_sums[span][None, :])
    weight_gradients = product_with_transposed(inputs.value, gradient)
    logit_gradients = weights * (weight_gradients - saved.output_products[span][None, :])
    return _add_products(gradients, weights, logit_gradients, query, gradient)


def _add_products(
    gradients: tuple[jax.Array, jax.Array],
    weights: jax.Array,
    logit_gradients: jax.Array,
    query: jax.Array,
    output_gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Gradients of keys and values with ds q and p do, see the module's docstring."""
    key, value = gradients
    # Products take the inputs' precision, as in the reference.
    value += product(weights.astype(output_gradient.dtype), output_gradient)
    key += product(logit_gradients.astype(query.dtype), query)
    return key, value
