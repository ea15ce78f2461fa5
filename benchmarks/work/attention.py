"""Attention alone: packed rows of events, forward, and forward with all gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import flops
from benchmarks.harness.cases import Work, expect_close
from benchmarks.harness.workloads import ATTENTION_SHAPES, AttentionShape
from socialrec_jax.models.attention import AttentionContext, RelativeBias, attend
from socialrec_jax.models.sequence import POSITION_BUCKETS, TIME_BUCKETS
from socialrec_jax.shapes import Array

_CHECKED_ROWS = 2
# Relative to the largest entry. Accelerators multiply float32 with less precision by default.
_TOLERANCES = {"bfloat16": 3e-2, "float32": 5e-3}
# Passes over a row of queries, keys, values, outputs or one of their gradients.
_FORWARD_PASSES, _BACKWARD_PASSES = 4, 8
_LONGEST_GAP = 300_000  # seconds between two events


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What attention reads, and a direction for its gradients."""

    arguments: tuple[Array, ...]  # query, key, value [B, T, H, K]; time and position table
    segments: np.ndarray  # [B, T]
    times: np.ndarray  # [B, T]
    direction: Array  # [B, T, H, K]

    def rows(self, count: int) -> _Inputs:
        """The first rows."""
        *vectors, time_table, position_table = self.arguments
        first = tuple(vector[:count] for vector in vectors)
        return _Inputs(
            (*first, time_table, position_table),
            self.segments[:count],
            self.times[:count],
            self.direction[:count],
        )


def attention(name: str, gradients: bool) -> Work:
    """`attend` as the behavior transformer calls it, on rows of about two windows.

    With gradients: of queries, keys, values and both tables, along a fixed direction.
    """
    shape = ATTENTION_SHAPES[name]
    inputs = _random_inputs(shape)
    function = _with_gradients if gradients else _forward
    call = jax.jit(lambda *arrays: function(attend, *arrays))
    arrays = _arrays(inputs)

    events, pairs = _num_events(inputs), flops.causal_pairs(inputs.segments)
    passes = _FORWARD_PASSES + (_BACKWARD_PASSES if gradients else 0)
    row_bytes = shape.heads * shape.head_width * jnp.dtype(shape.dtype).itemsize
    forward_flops = 4 * pairs * shape.heads * shape.head_width
    return Work(
        call=lambda _: call(*arrays),
        carry=None,
        check=lambda _: _check(shape, inputs, gradients),
        unit="events",
        units_per_call=events,
        padding_share=1 - events / inputs.segments.size,
        flops=(flops.TRAINING if gradients else 1) * forward_flops,
        bytes=float(passes * inputs.segments.size * row_bytes),
        dtype=shape.dtype,
    )


def _random_inputs(shape: AttentionShape) -> _Inputs:
    rng = np.random.default_rng(0)
    B, T, H, K = shape.rows, shape.length, shape.heads, shape.head_width
    segments = _random_segments(rng, B, T)
    gaps = rng.integers(1, _LONGEST_GAP, (B, T))
    times = np.cumsum(gaps, axis=1).astype(np.int32)
    vectors = [jnp.asarray(rng.normal(size=(B, T, H, K)), shape.dtype) for _ in range(4)]
    sizes = (TIME_BUCKETS, POSITION_BUCKETS)
    tables = [jnp.asarray(rng.normal(size=(size, H)), jnp.float32) for size in sizes]
    return _Inputs((*vectors[:3], *tables), segments, times, vectors[3])


def _random_segments(rng: np.random.Generator, rows: int, length: int) -> np.ndarray:
    """Windows of random lengths [B, T]: about half of the causal pairs; padding at the end."""
    segments = np.zeros((rows, length), np.int32)
    for row in segments:
        end = length - int(rng.integers(0, length // 8))
        start, number = 0, 0
        while start < end:
            window = int(rng.integers(length // 10, length))
            number += 1
            row[start : min(start + window, end)] = number
            start += window
    return segments


def _num_events(inputs: _Inputs) -> int:
    # Segment 0 is padding.
    return int((inputs.segments > 0).sum())


def _arrays(inputs: _Inputs) -> tuple:
    return jax.device_put((inputs.segments, inputs.times, inputs.arguments, inputs.direction))


def _forward(attention: Any, segments: Array, times: Array, arguments: tuple, _: Array) -> Array:
    query, key, value, time_table, position_table = arguments
    bias = RelativeBias(times, times, time_table, position_table)
    return attention(query, key, value, AttentionContext(segments, bias))


def _with_gradients(
    attention: Any, segments: Array, times: Array, arguments: tuple, direction: Array
) -> tuple:
    """(output, gradients of all arguments)."""

    def output(*arguments: Array) -> Array:
        return _forward(attention, segments, times, arguments, direction)

    attended, pull_back = jax.vjp(output, *arguments)
    # What comes out at padding belongs to nobody.
    is_event = (segments > 0)[:, :, None, None]
    return attended, pull_back(jnp.where(is_event, direction, 0))


def _check(shape: AttentionShape, inputs: _Inputs, gradients: bool) -> str:
    """Raise WrongResult unless a few rows have the textbook's result in float32."""
    few = inputs.rows(_CHECKED_ROWS)
    function = _with_gradients if gradients else _forward
    actual = jax.jit(lambda *arrays: function(attend, *arrays))(*_arrays(few))
    in_float32 = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.bfloat16 else leaf, _arrays(few)
    )
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(lambda *arrays: function(_textbook, *arrays))(*in_float32)
    actual = _at_events(actual, few.segments)
    expected = _at_events(expected, few.segments)
    compared = expect_close("attention", actual, expected, _TOLERANCES[shape.dtype])
    return f"{compared}, at {_CHECKED_ROWS} rows"


def _at_events(result: Any, segments: np.ndarray) -> Any:
    """Zeros where a result of rows [B, T, ...] belongs to padding."""

    def select(leaf: Array) -> np.ndarray:
        values = np.asarray(leaf, np.float32)
        if values.shape[:2] != segments.shape:
            return values
        return np.where((segments > 0)[:, :, None, None], values, 0)

    return jax.tree.map(select, result)


def _textbook(query: Array, key: Array, value: Array, context: AttentionContext) -> Array:
    """All logits at once, masked, softmax, mean of the values.

    It shares nothing with the product, not even the buckets.
    """
    bias, segments = context.bias, jnp.asarray(context.segments)
    assert bias is not None
    logits = jnp.einsum("BTHK,BSHK->BHTS", query, key) / query.shape[-1] ** 0.5
    seconds = bias.query_times[:, :, None] - bias.key_times[:, None, :]
    column = jnp.arange(segments.shape[1])
    steps = (column[:, None] - column[None, :])[None]
    logits += _textbook_bias(bias.time_table, seconds)
    logits += _textbook_bias(bias.position_table, steps)
    is_visible = (segments[:, :, None] == segments[:, None, :]) & (steps >= 0)
    logits = jnp.where(is_visible[:, None], logits, -1e30)
    return jnp.einsum("BHTS,BSHK->BTHK", jax.nn.softmax(logits), value)


def _textbook_bias(table: Array, distance: Array) -> Array:
    """[B, H, T, S] of distances [B, T, S]; bucket n begins at 2^(n - 1)."""
    bounds = 2 ** jnp.arange(len(table) - 1, dtype=jnp.int32)
    # Below zero counts as zero.
    buckets = jnp.searchsorted(bounds, distance, side="right")
    return jnp.moveaxis(jnp.asarray(table)[buckets], -1, 1)
