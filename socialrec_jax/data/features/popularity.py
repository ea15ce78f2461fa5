"""Popularity with more weight on recent events."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.world import Events


def recent_popularity(
    events: Events, history_ends: np.ndarray, num_items: int, half_life: float = 0.05
) -> np.ndarray:
    """Log share [V] float32 of each item among the events before rows history_ends [U].

    The weight of an event halves with every half_life, which is a share of the visible time span,
    so that it fits fast and slow shops. An item without events gets a tenth of the smallest weight,
    so that its logarithm is finite.
    """
    visible = events.visible(history_ends)
    if not visible.any():
        return np.zeros(num_items, np.float32)

    items = events.items[visible]
    times = events.times[visible].astype(np.float64)
    newest = times.max()

    # Events of one moment have no time span; a second avoids the division by zero.
    half_life_seconds = max((newest - times.min()) * half_life, 1.0)
    weights = 0.5 ** ((newest - times) / half_life_seconds)
    counts = np.bincount(items, weights, minlength=num_items)

    smallest = weights.min() / 10
    total = counts.sum() + num_items * smallest
    shares = (counts + smallest) / total
    return np.log(shares).astype(np.float32)
