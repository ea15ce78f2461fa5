"""What is popular lately."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.world import Events

_HALF_LIFE_SHARE = 0.05  # of the data's time span: follows the pace of the shop


def recent_popularity(events: Events, ends: np.ndarray, num_items: int) -> np.ndarray:
    """Log share [V] float32 of each item among the visible events (rows before ends [U]), recent ones counting more.

    An event's weight halves with every twentieth of the visible time span. An item without events gets the share of
    a tenth of the lightest event.
    """
    visible = np.arange(len(events.items)) < np.repeat(ends, np.diff(events.offsets))
    if not visible.any():
        return np.zeros(num_items, np.float32)
    items, times = events.items[visible], events.times[visible].astype(np.float64)
    half_life = max((times.max() - times.min()) * _HALF_LIFE_SHARE, 1.0)
    weights = 0.5 ** ((times.max() - times) / half_life)
    counts = np.bincount(items, weights, minlength=num_items)
    floor = weights.min() / 10
    return np.log((counts + floor) / (counts.sum() + num_items * floor)).astype(np.float32)
