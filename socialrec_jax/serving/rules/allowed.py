"""Which items may be recommended to anybody."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData
from socialrec_jax.serving.frames import Ids, find_numbers
from socialrec_jax.serving.rules.where import parse_where


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemRules:
    """Rules about single items."""

    allow: Ids | None = None  # only these items
    block: Ids | None = None  # never these items
    where: str | None = None  # only items that satisfy a condition, see `parse_where`
    only_available: bool = True

    def allowed(self, world: World) -> np.ndarray | None:
        """Which items [V] bool may be recommended, None when all. Deleted items never are.

        Raises UsageError for a condition that cannot be read, BadData for an unknown id, or where
        no item is left.
        """
        allowed = ~world.deleted_items
        if self.only_available:
            allowed &= world.items.available
        condition = None if self.where is None else parse_where(self.where)
        # What depends on the user is another mask, see `UserMatch`.
        if condition is not None and not condition.user_attributes:
            allowed &= condition(world.items)
        if self.allow is not None:
            allowed &= _members(world, self.allow)
        if self.block is not None:
            allowed &= ~_members(world, self.block)
        # Without any item every user's list would be empty.
        if not allowed.any():
            raise BadData(f"{self._active()} leave no item to recommend")
        return None if allowed.all() else allowed

    def _active(self) -> str:
        """The options that leave items out."""
        given = {"--allow": self.allow, "--block": self.block, "--where": self.where}
        options = [name for name, value in given.items() if value is not None]
        availability = ["availability"] if self.only_available else []
        return " and ".join(options + availability)


def _members(world: World, ids: Ids) -> np.ndarray:
    members = np.zeros(world.num_items, bool)
    members[find_numbers(world.items.ids, ids, "item")] = True
    return members
