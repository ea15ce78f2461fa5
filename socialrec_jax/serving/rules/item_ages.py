"""How old items are: the days since somebody first did something with them."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.world import World

_DAY = 86400


def item_ages(world: World, as_of: AsOf) -> np.ndarray:
    """Days [V] float64 from each item's first visible event until the query; 0 without any event.

    The same for all users: age is a property of the shop.
    """
    now = int(world.query_times(as_of).max(initial=0))
    rows = np.flatnonzero(world.events.visible(world.history_ends(as_of)))
    # Not a fancy assignment: an item has many events, and the least of their times counts.
    first_times = np.full(world.num_items, now, np.int64)
    np.minimum.at(first_times, world.events.items[rows], world.events.times[rows])
    return (now - first_times) / _DAY
