"""The two backward kernels: gradients of queries, and gradients of keys and values.

With weights p, output o and its gradient do:

    ds = p * (do . v - do . o),   dq = sum_s ds k,   dk = sum_t ds q,   dv = sum_t p do

Weights are computed again from the logits and the denominators that the forward kernel has kept.
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
    Positions,
    Ref,
    load_positions,
    masked_logits,
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


def query_gradients(inputs: Inputs, saved: Saved, scale: float, interpret: bool) -> jax.Array:
    """Gradients of queries [B, T, H, K]."""
    grid = Grid(inputs, QUERY_SIZES.queries, backwards=True)
    specs = grid.inputs(query=grid.block(), key=grid.whole())
    saved_specs = Saved(grid.block(), grid.block_of_sums(), grid.block_of_sums())
    outputs = [like(inputs.query, grid.block())]

    kernel = functools.partial(_query_kernel, scale=scale)
    launch = grid.call(kernel, "fused_attention_queries", (specs, saved_specs), outputs, interpret)
    return launch(inputs, saved)[0]


def _query_kernel(inputs: Inputs, saved: Saved, query_ref: Ref, scale: float) -> None:
    start = (pl.num_programs(0) - 1 - pl.program_id(0)) * QUERY_SIZES.queries
    queries = load_positions(inputs.packing, start, QUERY_SIZES.queries).as_column()
    # The program's blocks, read once.
    inputs = inputs._replace(query=inputs.query[...])
    saved = Saved(*(ref[...] for ref in saved))
    add_keys = functools.partial(_add_keys, program=_Program(queries, inputs, saved, scale))

    first_block, end_block = visible_key_blocks(inputs.packing, start, QUERY_SIZES)
    zeros = jnp.zeros(inputs.query.shape, jnp.float32)
    gradient = lax.fori_loop(first_block, end_block, add_keys, zeros)
    query_ref[...] = (gradient * scale).astype(query_ref.dtype)


def _add_keys(block: jax.Array, gradient: jax.Array, program: _Program) -> jax.Array:
    """The gradient of queries with what one more block of keys adds."""
    inputs, saved = program.inputs, program.saved
    start = block * QUERY_SIZES.keys
    span = pl.ds(start, QUERY_SIZES.keys)
    key, value = inputs.key[span, :], inputs.value[span, :]
    keys = load_positions(inputs.packing, start, QUERY_SIZES.keys).as_row()

    products = _products(inputs.query, key, program)
    logits = masked_logits(products, program.positions, keys)
    weights = jnp.exp2(logits - saved.log_sums[:, None])
    weight_gradients = product_with_transposed(saved.gradient, value)
    logit_gradients = weights * (weight_gradients - saved.output_products[:, None])
    return gradient + product(logit_gradients.astype(key.dtype), key)


def _products(left: jax.Array, right: jax.Array, program: _Program) -> jax.Array:
    """Logits to the base of 2 of queries and keys, or of keys and queries."""
    return product_with_transposed(left, right) * (program.scale * LOG2_E)


def key_and_value_gradients(
    inputs: Inputs, saved: Saved, scale: float, interpret: bool
) -> list[jax.Array]:
    """Gradients of keys and values [B, T, H, K]."""
    grid = Grid(inputs, KEY_SIZES.keys)
    specs = grid.inputs(query=grid.whole(), key=grid.block())
    saved_specs = Saved(grid.whole(), grid.whole_of_sums(), grid.whole_of_sums())
    outputs = [like(inputs.key, grid.block()), like(inputs.value, grid.block())]

    kernel = functools.partial(_key_kernel, scale=scale)
    launch = grid.call(kernel, "fused_attention_keys", (specs, saved_specs), outputs, interpret)
    return launch(inputs, saved)


def _key_kernel(inputs: Inputs, saved: Saved, key_ref: Ref, value_ref: Ref, scale: float) -> None:
    start = pl.program_id(0) * KEY_SIZES.keys
    keys = load_positions(inputs.packing, start, KEY_SIZES.keys).as_column()
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

    queries = load_positions(inputs.packing, start, KEY_SIZES.queries).as_row()
    products = _products(inputs.key, query, program)
    logits = masked_logits(products, queries, program.positions)
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
