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
    columns = jnp.arange(segments.shape[1], dtype=jnp.int32)
    return since_first(jnp.broadcast_to(columns, segments.shape), segments)


@typed
def since_first(values: Ints[Array, "B T"], segments: Ints[Array, "B T"]) -> Ints[Array, "B T"]:
    """Values that never fall and are not negative, less that of their segment's first position."""
    # The value of the last first position so far.
    first = jnp.where(is_first(segments), values, 0)
    return values - jax.lax.cummax(first, axis=1)
