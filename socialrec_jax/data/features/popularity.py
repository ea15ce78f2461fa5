"""What is popular lately."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.world import Events


def recent_popularity(
    events: Events, history_ends: np.ndarray, num_items: int, half_life: float = 0.05
) -> np.ndarray:
    """Log share [V] float32 of each item among the visible events (rows before ends [U]), recent
    ones counting more.

    An event's weight halves with every half_life, a share of the visible time span, so that it
    follows the pace of the shop. An item without events gets the share of a tenth of the lightest
    event.
    """
    visible = np.arange(len(events.items)) < history_ends[events.owners]
    if not visible.any():
        return np.zeros(num_items, np.float32)
    items, times = events.items[visible], events.times[visible].astype(np.float64)
    seconds = max((times.max() - times.min()) * half_life, 1.0)
    weights = 0.5 ** ((times.max() - times) / seconds)
    counts = np.bincount(items, weights, minlength=num_items)
    floor = weights.min() / 10
    return np.log((counts + floor) / (counts.sum() + num_items * floor)).astype(np.float32)
