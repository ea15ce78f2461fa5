"""What a user is due to buy again, by the rhythm in which others bought the same item again."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.csr import offsets_of, ranges
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events, World

# Types that count as a purchase where the World has any of them; otherwise all types count.
_PURCHASES = ("buy", "purchase", "order", "transaction")

_LEAST_GAPS = 3  # of an item with a rhythm of its own
_PRIOR_USERS = 10  # users whom the shop's share of repeats stands for in the share of an item


@dataclasses.dataclass(frozen=True)
class Rhythms:
    """How often, and after how long, each of V items is bought again by the same user."""

    repeat_shares: np.ndarray  # [V] of the users who bought it
    gaps: np.ndarray  # [V] seconds, the median between two purchases of one user
    types: np.ndarray  # event types that count

    @classmethod
    def of(cls, world: World, as_of: AsOf) -> Rhythms:
        """Count the visible purchases. Without any repeat in the shop all shares are 0."""
        types = _types_of_purchases(world.event_types)
        rows = np.flatnonzero(world.events.visible(world.history_ends(as_of)))
        rows = rows[np.isin(world.events.types[rows], types)]
        users = world.events.owners[rows].astype(np.int64)
        keys = users * world.num_items + world.events.items[rows]

        # The purchases of one item by one user follow each other, the oldest first.
        order = np.lexsort((world.events.times[rows], keys))
        is_repeat = np.diff(keys[order]) == 0
        gaps = np.diff(world.events.times[rows][order])[is_repeat]
        gap_items = keys[order][1:][is_repeat] % world.num_items

        pairs, counts = np.unique(keys, return_counts=True)
        shares = _repeat_shares(pairs % world.num_items, counts > 1, world.num_items)
        return cls(shares, _median_gaps(gap_items, gaps, world.num_items), types)

    def due(self, query: Query, now: int) -> sparse.csr_array:
        """How due each item of each user's history is [q, V]: the item's share of repeats, times
        exp(-|log(time since the last purchase / gap)|).
        """
        owners, items, ages = _last_purchases(query, self.types, now, len(self.gaps))
        # A purchase in this very second has age 0, whose logarithm is infinite.
        ratio = np.maximum(ages, 1) / self.gaps[items]
        scores = self.repeat_shares[items] * np.exp(-np.abs(np.log(ratio)))
        entries = (scores.astype(np.float32), (owners, items))
        return sparse.csr_array(entries, (len(query), len(self.gaps)))


def _types_of_purchases(event_types: list[str]) -> np.ndarray:
    """The numbers of the event types that are purchases; all where none has such a name."""
    purchases = [number for number, name in enumerate(event_types) if name.lower() in _PURCHASES]
    return np.array(purchases or range(len(event_types)))


def _repeat_shares(items: np.ndarray, is_repeated: np.ndarray, num_items: int) -> np.ndarray:
    """The share [V] of users who bought an item again, of (user, item) pairs.

    An item with few users is between its own share and that of the shop.
    """
    users = np.bincount(items, minlength=num_items)
    repeating = np.bincount(items, is_repeated, num_items)
    of_shop = is_repeated.mean() if len(is_repeated) else 0.0
    return (repeating + _PRIOR_USERS * of_shop) / (users + _PRIOR_USERS)


def _median_gaps(items: np.ndarray, gaps: np.ndarray, num_items: int) -> np.ndarray:
    """The median gap [V] of each item, that of the shop where an item has few; at least 1 s."""
    of_shop = np.median(gaps) if len(gaps) else 1.0
    order = np.lexsort((gaps, items))
    offsets = offsets_of(items[order], num_items)
    counts = np.diff(offsets)
    medians = np.full(num_items, of_shop, np.float64)
    has_rhythm = counts >= _LEAST_GAPS

    # The mean of the two in the middle, which are one where their number is odd.
    lower = offsets[:-1][has_rhythm] + (counts[has_rhythm] - 1) // 2
    upper = offsets[:-1][has_rhythm] + counts[has_rhythm] // 2
    ordered = gaps[order]
    medians[has_rhythm] = (ordered[lower] + ordered[upper]) / 2
    return np.maximum(medians, 1)


def _last_purchases(
    query: Query, types: np.ndarray, now: int, num_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(query [n], item [n], seconds since [n]) of the last purchase of each item by each user."""
    events: Events = query.events
    starts, ends = events.offsets[query.users], query.history_ends
    rows = ranges(starts, ends - starts)
    owners = np.repeat(np.arange(len(query)), ends - starts)
    counts = np.isin(events.types[rows], types)
    rows, owners = rows[counts], owners[counts]

    # The first of the reversed rows is the newest.
    keys = (owners * num_items + events.items[rows])[::-1]
    distinct, newest = np.unique(keys, return_index=True)
    ages = now - events.times[rows][::-1][newest]
    return distinct // num_items, distinct % num_items, ages
