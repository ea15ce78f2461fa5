"""Exploration: a share of the places for items that nobody knows yet."""

from __future__ import annotations

import dataclasses

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.serving.rules.item_ages import item_ages
from socialrec_jax.serving.rules.quotas import Quota, check_share, places_of

DEFAULT_DAYS = 30.0


@dataclasses.dataclass(frozen=True)
class NewItems:
    """How much of each list new items get, and until when an item is new."""

    share: float
    days: float = DEFAULT_DAYS  # since its first event; an item without events is new

    def check(self) -> None:
        """Raises UsageError for what cannot be right."""
        check_share("--new-items", self.share)
        if self.days < 0:
            raise UsageError(f"--new-items-days {self.days}: choose 0 or more")

    def quota(self, world: World, as_of: AsOf, k: int) -> Quota:
        """The places in lists of k items; a shop without new items has none to fill."""
        is_new = (item_ages(world, as_of) <= self.days) & ~world.deleted_items
        return Quota(is_new, places_of(self.share, k))
