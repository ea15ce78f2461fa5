"""Where and when events lie, as rotations of queries and keys (RoPE, Su et al. 2021).

    <R(a_t) q, R(a_s) k> = <R(a_t - a_s) q, k>

so that logits depend on the difference of two events' angles, and attention itself needs no bias.
Pairs of features turn by two clocks, at several speeds each: one counts events, the other adds up
the logarithms of the seconds between events, so that gaps of seconds and of months both tell.

Clocks are integers, and so are their periods: differences are exact in histories of any length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from socialrec_jax.models.packing import is_first, positions, since_first
from socialrec_jax.shapes import Array, Floats, Ints, typed

# Ticks of an event, and of a gap that is twice as long.
_TICKS = 256
# Of the pairs of features, so many turn by each clock; a quarter of them does not turn.
_SHARE_OF_CLOCK = 3 / 8
# The shortest period of each clock in events or doublings, and the longest one for each event of
# the longest history.
_EVENT_PERIODS = (4, 4)
_GAP_PERIODS = (8, 32)


class Angles(struct.PyTreeNode):
    """Cosine and sine of the angle of each of n pairs of features."""

    cos: Floats[Array, "B T n"]
    sin: Floats[Array, "B T n"]


class Rotations(struct.PyTreeNode):
    """What queries and keys are turned by."""

    query: Angles
    key: Angles


@typed
def rotations(
    times: Ints[Array, "B T"],
    query_times: Ints[Array, "B T"],
    segments: Ints[Array, "B T"],
    head_dim: int,
    history_length: int,
) -> Rotations:
    """times, query_times: seconds of the events, and of the requests that they answer."""
    num_periods = max(1, int(_SHARE_OF_CLOCK * (head_dim // 2)))
    event_periods = _periods(*_EVENT_PERIODS, history_length, num_periods)
    gap_periods = _periods(*_GAP_PERIODS, history_length, num_periods)

    # Clocks begin with the window, so that an event's angles are the same wherever it is packed.
    events = _angles_of_events(positions(segments), event_periods)
    gaps = since_first(_gap_clock(times, segments), segments)
    # A query is as much later as its request is.
    waits = _log_ticks(query_times - times)
    query = _joined(events, _angles(gaps + waits, gap_periods))
    return Rotations(query, _joined(events, _angles(gaps, gap_periods)))


def _periods(shortest: int, longest: int, history_length: int, count: int) -> np.ndarray:
    """Ticks, evenly spaced in their logarithm."""
    periods = np.geomspace(shortest * _TICKS, longest * history_length * _TICKS, count)
    return np.round(periods).astype(np.int32)


def _gap_clock(times: Array, segments: Array) -> jax.Array:
    """The sum of log2(1 + seconds) over the gaps of the row so far, in ticks."""
    gaps = jnp.diff(times, axis=1, prepend=times[:, :1])
    return jnp.cumsum(jnp.where(is_first(segments), 0, _log_ticks(gaps)), axis=1)


def _log_ticks(seconds: Array) -> jax.Array:
    """log2(1 + seconds) in ticks; below 0 counts as 0."""
    seconds = jnp.maximum(seconds, 0).astype(jnp.float32)
    return jnp.round(_TICKS * jnp.log2(1 + seconds)).astype(jnp.int32)


def _angles(ticks: Array, periods: np.ndarray) -> Angles:
    """How far each of n periods is over [B, T, n]."""
    periods = periods[None, None]
    rest = jnp.mod(ticks[..., None], periods).astype(jnp.float32)
    radians = rest * (2 * np.pi / periods).astype(np.float32)
    return Angles(jnp.cos(radians), jnp.sin(radians))


def _angles_of_events(numbers: Array, periods: np.ndarray) -> Angles:
    """Those of the first, second, ... event of a window [B, T, n]."""
    # Computed once for each number: sines cost more than a lookup.
    every = jnp.arange(numbers.shape[1], dtype=jnp.int32)[None] * _TICKS
    return jax.tree.map(lambda table: table[0][numbers], _angles(every, periods))


def _joined(events: Angles, gaps: Angles) -> Angles:
    return jax.tree.map(lambda *both: jnp.concatenate(both, axis=-1), events, gaps)


@typed
def rotate(x: Floats[Array, "B T H K"], angles: Angles) -> Floats[Array, "B T H K"]:
    """x with feature i of each head turned together with feature i + n, for the n pairs.

    Computed in float32: bfloat16 would round the angles of a long history. Angles have no gradient.
    """
    return _rotate(x, angles.cos[:, :, None], angles.sin[:, :, None])


@jax.custom_vjp
def _rotate(x: Array, cos: Array, sin: Array) -> jax.Array:
    n = cos.shape[-1]
    first, second, rest = x[..., :n], x[..., n : 2 * n], x[..., 2 * n :]
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate([*(part.astype(x.dtype) for part in turned), rest], axis=-1)


def _rotate_back(angles: tuple[Array, Array], gradient: Array) -> tuple[jax.Array, None, None]:
    """The gradient turns the other way."""
    cos, sin = angles
    return _rotate(gradient, cos, -sin), None, None


_rotate.defvjp(lambda x, cos, sin: (_rotate(x, cos, sin), (cos, sin)), _rotate_back)
