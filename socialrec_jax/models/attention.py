"""Attention over packed rows: the one function that both transformers call.

    out_t = sum_s softmax_s(q_t . k_s / sqrt(K) + bias_ts) v_s,   s <= t in the same segment
    bias_ts = time_table[bucket(seconds between t and s)] + position_table[bucket(t - s)]

Models pass segments, times and tables, never an array of all pairs: an implementation decides
itself what it holds in memory. The reference below materialises everything and is the fastest on
CPUs. Fused kernels for accelerators belong behind `choose_implementation`;
tests/models/test_attention.py compares each with the reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from socialrec_jax.shapes import Array, Bools, Floats, Ints, typed


class RelativeBias(struct.PyTreeNode):
    """What one layer adds to its logits, from the seconds and the events between query and key.

    Tables hold a learned bias for each logarithmic bucket and head (HSTU, Zhai et al. 2024, eq. 3).
    """

    query_times: Ints[Array, "B T"]  # seconds
    key_times: Ints[Array, "B T"]  # seconds
    time_table: Floats[Array, "R H"]
    position_table: Floats[Array, "J H"]


class AttentionContext(struct.PyTreeNode):
    """What attention depends on besides queries, keys and values.

    A query attends to the keys of its own segment that are not later. Padding (segment 0) attends
    to padding, so that its softmax is finite. Windows are contiguous, so the columns of a row count
    events.
    """

    segments: Ints[Array, "B T"]
    bias: RelativeBias | None = None


@dataclasses.dataclass(frozen=True)
class Implementation:
    """A way to compute attention: (query, key, value, context) -> output, as `attend`."""

    name: str
    attend: Callable[[Array, Array, Array, AttentionContext], Array]


@typed
def attend(
    query: Floats[Array, "B T H K"],
    key: Floats[Array, "B T H K"],
    value: Floats[Array, "B T H K"],
    context: AttentionContext,
) -> Floats[Array, "B T H K"]:
    """Causal attention within segments, in the precision of value.

    Products take the inputs' precision and add up in float32; logits, bias and softmax are float32.
    """
    implementation = choose_implementation(jax.default_backend(), query.shape)
    return implementation.attend(query, key, value, context)


def choose_implementation(platform: str, shape: tuple[int, ...]) -> Implementation:
    """The implementation for queries of shape [B, T, H, K] on a platform (cpu, gpu or tpu).

    The only one so far is the reference.
    """
    del platform, shape
    return REFERENCE


def describe() -> str:
    """The implementation that this process uses: a line for people."""
    platform = jax.default_backend()
    return f"{choose_implementation(platform, ()).name} on {platform}"


def _attend_reference(
    query: Array, key: Array, value: Array, context: AttentionContext
) -> jax.Array:
    """Holds all logits [B, H, T, T], and the bias beside them."""
    # Scaling the queries, not the logits, costs T * K instead of T * T products.
    scaled = query * query.shape[-1] ** -0.5
    logits = jnp.einsum("BTHK,BSHK->BHTS", scaled, key, preferred_element_type=jnp.float32)
    if context.bias is not None:
        logits = logits + bias_array(context.bias)

    visible = causal_mask(context.segments)[:, None]
    # Finite: a row that is masked as a whole would become NaN.
    logits = jnp.where(visible, logits, -1e30)
    weights = jax.nn.softmax(logits, axis=-1)
    return jnp.einsum("BHTS,BSHK->BTHK", weights.astype(value.dtype), value)


REFERENCE = Implementation("reference, jnp", _attend_reference)


@typed
def causal_mask(segments: Ints[Array, "B T"]) -> Bools[Array, "B T T"]:
    """True where query t (second axis) attends to key s (third axis)."""
    T = segments.shape[1]
    not_later = jnp.tril(jnp.ones((T, T), bool))
    same_segment = segments[:, :, None] == segments[:, None, :]
    return same_segment & not_later[None]


@typed
def bias_array(bias: RelativeBias) -> Floats[Array, "B H T T"]:
    """The bias of each head, query and key.

    A plain lookup: on a CPU it is nine times as fast, gradient included, as a product with one-hot
    rows (docs/results.md).
    """
    seconds = bias.query_times[:, :, None] - bias.key_times[:, None, :]
    by_time = _look_up(bias.time_table, seconds)

    # Positions are the same in every row: one lookup of [1, T, T].
    column = jnp.arange(seconds.shape[1], dtype=jnp.int32)
    steps = column[:, None] - column[None, :]
    by_position = _look_up(bias.position_table, steps[None])
    return by_time + by_position


def _look_up(table: Array, distance: Array) -> jax.Array:
    """The table's rows for distances [B, T, S], heads first [B, H, T, S]."""
    buckets = log_buckets(distance, len(table))
    rows = jnp.asarray(table)[buckets]
    return jnp.moveaxis(rows, -1, 1)


@typed
def log_buckets(distance: Ints[Array, "*S"], num_buckets: int) -> Ints[Array, "*S"]:
    """The logarithmic bucket of a distance: 0, 1, 2-3, 4-7, ...; below 0 counts as 0.

    Small distances are distinguished finely and large ones coarsely.
    """
    distance = jnp.maximum(distance, 0).astype(jnp.int32)
    # The number of bits: the logarithm without floating point.
    bits = 32 - jax.lax.clz(distance)
    return jnp.minimum(bits, num_buckets - 1)
