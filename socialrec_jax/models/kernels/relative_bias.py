"""The bias of attention from the seconds and the events between query and key.

    bias_ts = time_table[bucket(seconds between t and s)] + position_table[bucket(t - s)]

(HSTU, Zhai et al. 2024, eq. 3.) The buckets are logarithmic, so small distances are distinguished
finely and large ones coarsely.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from socialrec_jax.shapes import Array, Floats, Ints, typed


class RelativeBias(struct.PyTreeNode):
    """What one layer adds to its logits.

    Tables hold a learned bias for each bucket and head.
    """

    query_times: Ints[Array, "B T"]  # seconds
    key_times: Ints[Array, "B T"]  # seconds
    time_table: Floats[Array, "R H"]
    position_table: Floats[Array, "J H"]


# (table [R, H], buckets [B, T, S]) -> biases [B, T, S, H]
LookUp = Callable[[Array, Array], jax.Array]


def bias_array(bias: RelativeBias, look_up: LookUp) -> Floats[Array, "B H T T"]:
    """The bias of each head, query and key."""
    seconds = bias.query_times[:, :, None] - bias.key_times[:, None, :]
    by_time = _bias_by_distance(bias.time_table, seconds, look_up)

    # Positions are the same in every row: one lookup of [1, T, T].
    column = jnp.arange(seconds.shape[1], dtype=jnp.int32)
    steps = column[:, None] - column[None, :]
    by_position = _bias_by_distance(bias.position_table, steps[None], look_up)
    return by_time + by_position


def _bias_by_distance(table: Array, distance: Array, look_up: LookUp) -> jax.Array:
    """Biases of distances [B, T, S], heads first [B, H, T, S]."""
    buckets = log_buckets(distance, len(table))
    rows = look_up(jnp.asarray(table), buckets)
    return jnp.moveaxis(rows, -1, 1)


@typed
def log_buckets(distance: Ints[Array, "*S"], num_buckets: int) -> Ints[Array, "*S"]:
    """The logarithmic bucket of a distance: 0, 1, 2-3, 4-7, ...; below 0 counts as 0."""
    distance = jnp.maximum(distance, 0).astype(jnp.int32)
    # The number of bits: the logarithm without floating point.
    bits = 32 - jax.lax.clz(distance)
    return jnp.minimum(bits, num_buckets - 1)


def look_up_rows(table: Array, buckets: Array) -> jax.Array:
    """A plain lookup, whose gradient is a scatter.

    On a CPU it is nine times as fast, gradient included, as a product with one-hot rows
    (docs/results.md).
    """
    return jnp.asarray(table)[buckets]


@jax.custom_vjp
def look_up_rows_on_accelerators(table: Array, buckets: Array) -> jax.Array:
    """The same lookup with its gradient as a product of one-hot rows.

    An accelerator adds up a scatter into few rows one number after the other (docs/results.md).
    """
    return look_up_rows(table, buckets)


def _look_up_forward(table: Array, buckets: Array) -> tuple[jax.Array, tuple[Array, Array]]:
    return look_up_rows(table, buckets), (table, buckets)


def _look_up_backward(saved: tuple[Array, Array], gradient: jax.Array) -> tuple[jax.Array, None]:
    table, buckets = saved
    one_hot = jax.nn.one_hot(buckets, len(table), dtype=gradient.dtype)
    # Each row's sum first, so that no sum runs over all pairs of the batch at once.
    sums = jnp.einsum("BTSR,BTSH->BRH", one_hot, gradient, preferred_element_type=jnp.float32)
    return jnp.sum(sums, axis=0).astype(table.dtype), None


look_up_rows_on_accelerators.defvjp(_look_up_forward, _look_up_backward)
