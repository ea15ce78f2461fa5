"""Where the segments of packed rows begin: windows of events, or texts."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from socialrec_jax.shapes import Array, Bools, Ints, typed


@typed
def is_first(segments: Ints[Array, "B T"]) -> Bools[Array, "B T"]:
    """Which positions begin a segment."""
    return jnp.diff(segments, axis=1, prepend=-1) != 0


@typed
def positions(segments: Ints[Array, "B T"]) -> Ints[Array, "B T"]:
    """0, 1, 2, ... from the first position of each segment on."""
    return since_first(_columns(segments), segments)


@typed
def segment_bounds(
    segments: Ints[Array, "B T"],
) -> tuple[Ints[Array, "B T"], Ints[Array, "B T"]]:
    """The first and the last position of the segment of each position."""
    columns = _columns(segments)
    to_last = jnp.flip(positions(jnp.flip(segments, axis=1)), axis=1)
    return columns - positions(segments), columns + to_last


@typed
def since_first(values: Ints[Array, "B T"], segments: Ints[Array, "B T"]) -> Ints[Array, "B T"]:
    """Values that never fall and are not negative, less that of their segment's first position."""
    # The value of the last first position so far.
    first = jnp.where(is_first(segments), values, 0)
    return values - jax.lax.cummax(first, axis=1)


def _columns(segments: Array) -> jax.Array:
    """The position in its row [B, T] of each position."""
    return jax.lax.broadcasted_iota(jnp.int32, segments.shape, 1)
