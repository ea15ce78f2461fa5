"""Which items stand for the rest of the catalogue at a step: half by popularity, half uniform.

Popular items make the hardest negatives, and uniform ones keep every estimate finite. All devices draw the same.
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


def chances(item_counts: np.ndarray) -> Array:
    """Chance [V] of each item to be drawn."""
    share = item_counts / max(item_counts.sum(), 1)
    return jnp.asarray(0.5 * share + 0.5 / len(item_counts), jnp.float32)


def draw(key: Array, num_draws: int, item_counts: np.ndarray) -> Negatives:
    """From a catalogue whose distribution function fits into the program and into float32."""
    chance = chances(item_counts)
    ids = jnp.searchsorted(jnp.cumsum(chance), jax.random.uniform(key, (num_draws,))).clip(0, len(chance) - 1)
    return Negatives(ids, jnp.log(num_draws * chance[ids]))


def running_counts(item_counts: np.ndarray) -> Ints[np.ndarray, "V"]:
    """What `draw_from_many` draws by; counts too large for int32 in all are made coarser."""
    coarser = 1 + int(item_counts.sum()) // np.iinfo(np.int32).max
    return np.cumsum(item_counts // coarser).astype(np.int32)


def draw_from_many(key: Array, num_draws: int, running: Ints[Array, "V"]) -> Negatives:
    """From a catalogue of any size: in float32 the steps of its distribution function would vanish from 10M items on.

    A coin decides for a random event's item or for a random item, so that all that grows with V is one bisection.
    """
    V, events = len(running), jnp.maximum(running[-1], 1)
    coin, popular, uniform = jax.random.split(key, 3)
    by_event = jnp.searchsorted(running, jax.random.randint(popular, (num_draws,), 0, events), side="right")
    by_item = jax.random.randint(uniform, (num_draws,), 0, V)
    ids = jnp.where(jax.random.bernoulli(coin, 0.5, (num_draws,)), jnp.minimum(by_event, V - 1), by_item)
    counts = running[ids] - jnp.where(ids > 0, running[ids - 1], 0)
    return Negatives(ids, jnp.log(num_draws * (0.5 * counts / events + 0.5 / V)))
