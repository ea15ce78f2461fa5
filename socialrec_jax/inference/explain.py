"""Why an item is recommended: the recent item of the user's own that is most like it."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.world import Events

_RECENT_EVENTS = 10  # that may be named as the reason


def reasons(
    vectors: np.ndarray,
    events: Events,
    users: np.ndarray,
    history_ends: np.ndarray,
    items: np.ndarray,
) -> np.ndarray:
    """The recent item of each user's history that is most like each recommended item [q, k], -1
    without history.

    vectors [V, D]: the catalogue.
    """
    recent = history_ends[:, None] - 1 - np.arange(_RECENT_EVENTS)[None]
    valid = np.asarray(recent >= events.offsets[users][:, None])
    recent_items = (
        events.items[np.where(valid, recent, 0)]
        if len(events.items)
        else np.zeros(recent.shape, np.int32)
    )
    likeness = vectors[items] @ vectors[recent_items].swapaxes(1, 2)
    best = np.where(valid[:, None], likeness, -np.inf).argmax(-1)
    return np.where(np.any(valid, -1)[:, None], np.take_along_axis(recent_items, best, 1), -1)
