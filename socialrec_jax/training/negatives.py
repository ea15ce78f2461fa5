"""Which items stand for the rest of the catalogue at a step: half by popularity, half uniform.

Popular items make the hardest negatives, and uniform ones keep every estimate finite. All devices
draw the same.
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
    """What `draw` draws by; counts too large for int32 in all are made coarser."""
    coarser = 1 + int(item_counts.sum()) // np.iinfo(np.int32).max
    return np.cumsum(item_counts // coarser).astype(np.int32)


def draw(key: Array, num_draws: int, running: Ints[Array, "V"]) -> Negatives:
    """From a catalogue of any size: a coin decides for a random event's item or for a random item.

    All that grows with V is one bisection among whole numbers: in float32 the steps of a
    distribution function vanish from 10M items on.
    """
    V, events = len(running), jnp.maximum(running[-1], 1)
    coin, popular, uniform = jax.random.split(key, 3)
    by_event = jnp.searchsorted(
        running, jax.random.randint(popular, (num_draws,), 0, events), side="right"
    )
    by_item = jax.random.randint(uniform, (num_draws,), 0, V)
    ids = jnp.where(
        jax.random.bernoulli(coin, 0.5, (num_draws,)), jnp.minimum(by_event, V - 1), by_item
    )
    counts = running[ids] - jnp.where(ids > 0, running[ids - 1], 0)
    return Negatives(ids, jnp.log(num_draws * (0.5 * counts / events + 0.5 / V)))
