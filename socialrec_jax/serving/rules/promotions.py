"""Promotions: a share of the places for items that satisfy a condition."""

from __future__ import annotations

import dataclasses

from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.serving.rules.quotas import Quota, check_share, places_of
from socialrec_jax.serving.rules.where import parse_where

DEFAULT_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class Promotion:
    """Which items are promoted, and how much of each list they get."""

    condition: str  # see `parse_where`
    share: float = DEFAULT_SHARE

    def check(self) -> None:
        """Raises UsageError for what cannot be right."""
        check_share("--promote-share", self.share)
        # A quota has the same members for all users.
        if parse_where(self.condition, "--promote").user_attributes:
            raise UsageError(f"--promote {self.condition!r}: goes without attributes of users")

    def quota(self, world: World, k: int) -> Quota:
        """The places in lists of k items. Raises BadData where no item is promoted."""
        is_promoted = parse_where(self.condition, "--promote")(world.items) & ~world.deleted_items
        # A campaign that promotes nothing is most likely a wrong name.
        if not is_promoted.any():
            raise BadData(f"--promote {self.condition!r}: no item satisfies it")
        return Quota(is_promoted, places_of(self.share, k))
