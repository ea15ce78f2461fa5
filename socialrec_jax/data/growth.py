"""What a World has more than the generation before it, and how its new events are parted.

The events of an append come in batches, such as a day's. The newest of them are held out: they tell
whether a model that learnt from the others is better than the model before.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data import counter_rng
from socialrec_jax.data.csr import first_at_or_after
from socialrec_jax.data.world import Events, World


@dataclasses.dataclass(frozen=True)
class Growth:
    """The rows of new events in a World, and how many of its users and items were known before."""

    rows: np.ndarray  # [n] int64, new rows of world.events in rising order
    known_users: int
    known_items: int

    @classmethod
    def between(cls, known: World, world: World) -> Growth:
        """What was appended to `known`, which `world` is a later generation of."""
        is_new = _is_added(known.events, world.events)
        return cls(np.flatnonzero(is_new), known.num_users, known.num_items)

    def history_ends_before(self, events: Events) -> np.ndarray:
        """Where the events of each user [U] end that lie before all of the user's new ones."""
        # A late event hides the known ones after it, so that each history stays a slice.
        ends = np.array(events.offsets[1:])
        np.minimum.at(ends, events.owners[self.rows], self.rows)
        return ends

    def training_ends(self, events: Events, held_out_share: float, seed: int) -> np.ndarray:
        """Where the events of each user [U] end that may be learnt from.

        About `held_out_share` of the new events lies behind these ends: the newest ones. Where many
        share the second of the cut, it is later for some users than for others, by a hash.
        """
        times = np.sort(events.times[self.rows])
        if not len(times):
            return np.array(events.offsets[1:])
        cut = times[int((1 - held_out_share) * len(times))]
        before, until = np.searchsorted(times, [cut, cut + 1])

        # All events of a user in one second stay together: their order means little.
        users = np.arange(events.num_users)
        learnt_share = ((1 - held_out_share) * len(times) - before) / (until - before)
        is_later = counter_rng.uniform(seed, users) < learnt_share
        return events.ends_before(users, np.where(is_later, cut + 1, cut))


def _is_added(known: Events, grown: Events) -> np.ndarray:
    """Which events [N] bool of a grown World are not among the known ones.

    Of the events of one user and second, the known ones come first (`prepare.merge`).
    """
    owners, times = grown.owners, grown.times
    # New users have empty slices of known events.
    offsets = np.append(
        known.offsets, np.full(grown.num_users - known.num_users, known.offsets[-1])
    )
    starts, stops = offsets[owners], offsets[owners + 1]
    first = first_at_or_after(known.times, starts, stops, times)
    num_known = first_at_or_after(known.times, starts, stops, times + 1) - first

    first_of_second = first_at_or_after(
        times, grown.offsets[owners], grown.offsets[owners + 1], times
    )
    return np.arange(len(times)) - first_of_second >= num_known
