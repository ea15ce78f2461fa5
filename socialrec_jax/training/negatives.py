"""Sampled negatives of a step: half drawn by popularity, half uniformly.

Popular items are the hardest negatives; uniform ones keep every item's probability above zero. All
devices draw the same.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from socialrec_jax.shapes import Array, Floats, Ints


class Negatives(struct.PyTreeNode):
    """M items drawn with replacement."""

    ids: Ints[Array, "M"]
    log_expected: Floats[Array, "M"]  # log of how often each is expected among the M


def running_counts(item_counts: np.ndarray) -> Ints[np.ndarray, "V"]:
    """What `draw` takes: running sums of each item's events, scaled down if they exceed int32."""
    limit = np.iinfo(np.int32).max
    divisor = 1 + int(item_counts.sum()) // limit
    counts = item_counts // divisor
    return np.cumsum(counts).astype(np.int32)


def draw(key: Array, num_draws: int, running: Ints[Array, "V"]) -> Negatives:
    """Draw from a catalogue of any size: the item of a random event, or a random item, each with
    probability 1/2.

    All that grows with V is a bisection among integers: in float32 the steps of a distribution
    function vanish from 10M items on.
    """
    V, shape = len(running), (num_draws,)
    num_events = jnp.maximum(running[-1], 1)
    which_key, popular_key, uniform_key = jax.random.split(key, 3)

    event = jax.random.randint(popular_key, shape, 0, num_events)
    by_popularity = jnp.searchsorted(running, event, side="right")
    by_popularity = jnp.minimum(by_popularity, V - 1)  # a catalogue without events
    uniform = jax.random.randint(uniform_key, shape, 0, V)
    use_popularity = jax.random.bernoulli(which_key, 0.5, shape)
    ids = jnp.where(use_popularity, by_popularity, uniform)

    # Both ways of drawing can give an item, so its probability is the mean of both.
    before = jnp.where(ids > 0, running[ids - 1], 0)
    counts = running[ids] - before
    probabilities = 0.5 * counts / num_events + 0.5 / V
    return Negatives(ids, jnp.log(num_draws * probabilities))
