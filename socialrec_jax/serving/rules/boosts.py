"""Boosts: popular or fresh items get a higher place."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.rules.item_ages import item_ages

_FRESHNESS_HALF_LIFE = 30  # days


@dataclasses.dataclass(frozen=True)
class Boosts:
    """What is added to the score of an item, before lists are put together; 0 is off."""

    popularity: float = 0.0  # times the share of items that are less popular
    freshness: float = 0.0  # times a weight that is 1 for a new item and halves every 30 days

    def check(self) -> None:
        """Raises UsageError for what cannot be right."""
        for name, weight in (("popularity", self.popularity), ("freshness", self.freshness)):
            if not np.isfinite(weight) or weight < 0:
                raise UsageError(f"--boost-{name} {weight}: choose 0 (off) or more")

    @property
    def are_off(self) -> bool:
        return not self.popularity and not self.freshness

    def of_items(self, engine: Engine, as_of: AsOf) -> np.ndarray:
        """What is added to the score of each item [V] float32."""
        added = np.zeros(engine.world.num_items)
        if self.popularity:
            added += self.popularity * _shares_below(engine.popularity(as_of))
        if self.freshness:
            ages = item_ages(engine.world, as_of)
            added += self.freshness * 0.5 ** (ages / _FRESHNESS_HALF_LIFE)
        return added.astype(np.float32)


def _shares_below(values: np.ndarray) -> np.ndarray:
    """The share [V] of the other values that are smaller than each one."""
    # Shares, not counts or their logarithms: one weight then means the same in every shop.
    smaller = np.searchsorted(np.sort(values), values)
    return smaller / max(len(values) - 1, 1)
