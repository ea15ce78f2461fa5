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
from socialrec_jax.models.attention import attend
from socialrec_jax.shapes import Array

_CHECKED_ROWS = 2
# Relative to the largest entry. Accelerators multiply float32 with less precision by default.
_TOLERANCES = {"bfloat16": 3e-2, "float32": 5e-3}
# Passes over a row of queries, keys, values, outputs or one of their gradients.
_FORWARD_PASSES, _BACKWARD_PASSES = 4, 8


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What attention reads, and a direction for its gradients."""

    arguments: tuple[Array, ...]  # query, key, value [B, T, H, K]
    segments: np.ndarray  # [B, T]
    direction: Array  # [B, T, H, K]

    def rows(self, count: int) -> _Inputs:
        """The first rows."""
        arguments = tuple(vector[:count] for vector in self.arguments)
        return _Inputs(arguments, self.segments[:count], self.direction[:count])


def attention(name: str, gradients: bool) -> Work:
    """`attend` as the behavior transformer calls it, on rows of about two windows.

    With gradients: of queries, keys and values, along a fixed direction.
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
    vectors = [jnp.asarray(rng.normal(size=(B, T, H, K)), shape.dtype) for _ in range(4)]
    return _Inputs(tuple(vectors[:3]), segments, vectors[3])


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
    return jax.device_put((inputs.segments, inputs.arguments, inputs.direction))


def _forward(attention: Any, segments: Array, arguments: tuple, _: Array) -> Array:
    return attention(*arguments, segments)


def _with_gradients(attention: Any, segments: Array, arguments: tuple, direction: Array) -> tuple:
    """(output, gradients of all arguments)."""

    def output(*arguments: Array) -> Array:
        return _forward(attention, segments, arguments, direction)

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


def _textbook(query: Array, key: Array, value: Array, segments: Array) -> Array:
    """All logits at once, masked, softmax, mean of the values; nothing of it is the product's."""
    segments = jnp.asarray(segments)
    logits = jnp.einsum("BTHK,BSHK->BHTS", query, key) / query.shape[-1] ** 0.5
    column = jnp.arange(segments.shape[1])
    steps = (column[:, None] - column[None, :])[None]
    is_visible = (segments[:, :, None] == segments[:, None, :]) & (steps >= 0)
    logits = jnp.where(is_visible[:, None], logits, -1e30)
    return jnp.einsum("BHTS,BSHK->BTHK", jax.nn.softmax(logits), value)
