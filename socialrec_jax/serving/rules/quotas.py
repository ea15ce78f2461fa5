"""A share of the places of a list that is kept for some of the items."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from socialrec_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, eq=False)
class Quota:
    """At least so many places of each list hold members, where so many can be recommended."""

    is_member: np.ndarray  # [V] bool
    places: int


def places_of(share: float, k: int) -> int:
    """A share of k places, at least one."""
    # The small term keeps 0.2 of 10 places at two: the product is above 2 in binary.
    return max(1, math.ceil(share * k - 1e-9))


def check_share(option: str, share: float) -> None:
    """Raises UsageError for a share that cannot be right."""
    if not 0 < share <= 1:
        raise UsageError(f"{option} {share}: choose a share above 0, at most 1")
