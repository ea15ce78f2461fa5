"""The kernels as one differentiable function of arrays of any length and head width."""

from __future__ import annotations

import functools
from typing import cast

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from socialrec_jax.models.kernels.fused.backward import (
    KEY_SIZES,
    QUERY_SIZES,
    Saved,
    key_and_value_gradients,
    query_gradients,
)
from socialrec_jax.models.kernels.fused.blocks import Inputs, Packing
from socialrec_jax.models.kernels.fused.forward import SIZES, forward
from socialrec_jax.models.packing import segment_bounds
from socialrec_jax.shapes import Array

# Rows are padded to whole blocks, and heads to the smallest product of a tensor core.
_BLOCK = max(*SIZES, *QUERY_SIZES, *KEY_SIZES)
_MIN_HEAD_DIM = 16


def attend(
    query: Array, key: Array, value: Array, segments: Array, interpret: bool = False
) -> jax.Array:
    """See `attention.attend`. interpret: run the kernels' source on any device, for tests."""
    T, K = query.shape[1], query.shape[3]
    padding = -T % _BLOCK
    query, key, value = (_pad(part, padding) for part in (query, key, value))
    inputs = Inputs(query, key, value, _packing(jnp.asarray(segments), padding))
    attended = cast(jax.Array, _attend(inputs, K**-0.5, interpret))
    return attended[:, :T, :, :K]


def _pad(part: Array, padding: int) -> jax.Array:
    """[B, T, H, K] with padding after the row, and zeros after each head."""
    K = part.shape[3]
    head_dim = max(pl.next_power_of_2(K), _MIN_HEAD_DIM)
    return jnp.pad(part, ((0, 0), (0, padding), (0, 0), (0, head_dim - K)))


def _packing(segments: jax.Array, padding: int) -> Packing:
    """What the kernels need to know of each position, for rows with padding at the end."""
    # A segment of its own: nothing of the row attends to what is added.
    segments = jnp.pad(segments, ((0, 0), (0, padding)), constant_values=-1)
    return Packing(segments, *segment_bounds(segments))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _attend(inputs: Inputs, scale: float, interpret: bool) -> jax.Array:
    output, _ = forward(inputs, scale, interpret)
    return output


def _attend_forward(inputs: Inputs, scale: float, interpret: bool) -> tuple[jax.Array, tuple]:
    output, log_sums = forward(inputs, scale, interpret)
    return output, (inputs, output, log_sums)


def _attend_backward(
    scale: float, interpret: bool, residuals: tuple, gradient: jax.Array
) -> tuple[Inputs]:
    inputs, output, log_sums = residuals
    output_products = jnp.einsum(
        "BTHK,BTHK->BHT", output, gradient, preferred_element_type=jnp.float32
    )
    saved = Saved(gradient, log_sums, output_products)
    query = query_gradients(inputs, saved, scale, interpret)
    key, value = key_and_value_gradients(inputs, saved, scale, interpret)
    # Integers have no gradient.
    return (Inputs(query, key, value, Packing(None, None, None)),)


_attend.defvjp(_attend_forward, _attend_backward)
