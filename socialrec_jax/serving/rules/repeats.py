"""Repeats: items of the history come back, the later the longer ago the user had them."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.csr import ranges
from socialrec_jax.data.query import Query
from socialrec_jax.errors import UsageError

_DAY = 86400


@dataclasses.dataclass(frozen=True)
class RepeatDecay:
    """How fast the score of an item recovers after the user had it."""

    half_life: float  # days after which half of the weight is back

    def check(self) -> None:
        """Raises UsageError for what cannot be right."""
        if not self.half_life > 0:
            raise UsageError(f"--repeats-half-life {self.half_life}: choose days above 0")

    def log_weights(self, query: Query, items: np.ndarray) -> np.ndarray:
        """What is added to the scores of items [q, C]: log(1 - 2^(-age / half-life)), 0 if new.

        age: since the user's last event with the item. So its odds are 0 in the same second, and
        half of its own after one half-life.
        """
        ages = _days_since(query, items)
        is_seen = np.isfinite(ages)
        # New items are computed as some age, because infinity times zero is not a number.
        passed = np.where(is_seen, ages / self.half_life, 1)
        # The logarithm of 0 is meant: an item of this very second cannot come.
        with np.errstate(divide="ignore"):
            weights = np.log(-np.expm1(-np.log(2) * passed))
        return np.where(is_seen, weights, 0).astype(np.float32)


def _days_since(query: Query, items: np.ndarray) -> np.ndarray:
    """Days [q, C] since each user's last event with items [q, C]; infinite where there was none."""
    events = query.events
    starts, ends = events.offsets[query.users], query.history_ends
    rows = ranges(starts, ends - starts)
    owners = np.repeat(np.arange(len(query)), ends - starts)
    width = int(max(events.items.max(initial=0), items.max(initial=0))) + 1

    # The first of the reversed rows is the newest event of its user and item.
    keys = (owners * width + events.items[rows])[::-1]
    distinct, newest = np.unique(keys, return_index=True)
    # Nobody has a history, so that there is nothing to search.
    if not len(distinct):
        return np.full(items.shape, np.inf)
    pairs = np.arange(len(query))[:, None] * width + items
    place = np.minimum(np.searchsorted(distinct, pairs), len(distinct) - 1)
    last_times = events.times[rows][::-1][newest][place]
    days = (_now(query)[:, None] - last_times) / _DAY
    return np.where(distinct[place] == pairs, np.maximum(days, 0), np.inf)


def _now(query: Query) -> np.ndarray:
    """The time [q] of each query; that of the last event where it has none."""
    last_rows = np.maximum(query.history_ends - 1, 0)
    return np.maximum(query.query_times, query.events.times[last_rows])
