"""The forward kernel: outputs, and the logarithm of each softmax's denominator.

A program has one block of queries and passes over the blocks of keys that they attend to.
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
from socialrec_jax.models.kernels.fused.grid import Grid, Output, like

SIZES = BlockSizes(queries=64, keys=64)


class _Softmax(NamedTuple):
    """A softmax over the keys that were seen so far, of each query of a block."""

    weighted: jax.Array  # [queries, K] sum of values times exp2(logit - maximum)
    maximum: jax.Array  # [queries]
    total: jax.Array  # [queries] sum of exp2(logit - maximum)


def forward(inputs: Inputs, scale: float, interpret: bool) -> list[jax.Array]:
    """Outputs [B, T, H, K], and log2 of the sums of exp2(logits) [B, H, T]."""
    B, T, H, _ = inputs.query.shape
    # The last queries have the most keys: what takes longest starts first.
    grid = Grid(inputs, SIZES.queries, backwards=True)
    log_sums = jax.ShapeDtypeStruct((B, H, T), jnp.float32)
    outputs = [like(inputs.value, grid.block()), Output(log_sums, grid.block_of_sums())]
    specs = grid.inputs(query=grid.block(), key=grid.whole())

    kernel = functools.partial(_kernel, scale=scale * LOG2_E)
    return grid.call(kernel, "fused_attention_forward", (specs,), outputs, interpret)(inputs)


def _kernel(inputs: Inputs, output_ref: Ref, log_sums_ref: Ref, scale: float) -> None:
    query = inputs.query[...]
    block = pl.num_programs(0) - 1 - pl.program_id(0)
    start = block * SIZES.queries
    queries = load_positions(inputs.packing, start, SIZES.queries).as_column()
    add_keys = functools.partial(
        _add_keys, query=query, queries=queries, inputs=inputs, scale=scale
    )

    first_block, end_block = visible_key_blocks(inputs.packing, start, SIZES)
    softmax = lax.fori_loop(first_block, end_block, add_keys, _empty_softmax(query.shape))
    output_ref[...] = (softmax.weighted / softmax.total[:, None]).astype(output_ref.dtype)
    log_sums_ref[...] = softmax.maximum + jnp.log2(softmax.total)


def _empty_softmax(shape: tuple[int, ...]) -> _Softmax:
    num_queries = shape[:1]
    return _Softmax(
        weighted=jnp.zeros(shape, jnp.float32),
        maximum=jnp.full(num_queries, -jnp.inf, jnp.float32),
        total=jnp.zeros(num_queries, jnp.float32),
    )


def _add_keys(
    block: jax.Array,
    softmax: _Softmax,
    query: jax.Array,
    queries: Positions,
    inputs: Inputs,
    scale: float,
) -> _Softmax:
    """The softmax with one more block of keys."""
    start = block * SIZES.keys
    span = pl.ds(start, SIZES.keys)
    keys = load_positions(inputs.packing, start, SIZES.keys).as_row()
    products = product_with_transposed(query, inputs.key[span, :]) * scale
    logits = masked_logits(products, queries, keys)
    return _extend(softmax, logits, inputs.value[span, :])


def _extend(softmax: _Softmax, logits: jax.Array, value: jax.Array) -> _Softmax:
    """Flash attention's step: what was summed before is scaled to the new maximum."""
    maximum = jnp.maximum(softmax.maximum, jnp.max(logits, axis=1))
    shrink = jnp.exp2(softmax.maximum - maximum)
    weights = jnp.exp2(logits - maximum[:, None])

    weighted = product(weights.astype(value.dtype), value)
    weighted = softmax.weighted * shrink[:, None] + weighted
    return _Softmax(weighted, maximum, softmax.total * shrink + jnp.sum(weights, axis=1))
