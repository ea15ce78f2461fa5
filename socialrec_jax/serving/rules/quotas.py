"""A share of the places of a list that is kept for some of the items."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from socialrec_jax.errors import UsageError
from socialrec_jax.inference.recommendations import Recommendations

# Members among which a place is filled. With fewer of them, the ranker's best ones may lie deeper
# than the retriever's candidates go.
_MEMBERS_A_PLACE = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Quota:
    """At least so many places of each list hold members, where so many can be recommended."""

    is_member: np.ndarray  # [V] bool
    places: int

    def lacks_members(self, candidates: Recommendations, num_members: int) -> np.ndarray:
        """For which users [q] bool members must be searched, as candidates [q, C] hold too few.

        num_members: of all items that may be recommended.
        """
        is_member = candidates.exists & self.is_member[candidates.items]
        enough = min(_MEMBERS_A_PLACE * self.places, num_members)
        return is_member.sum(axis=1) < enough


def places_of(share: float, k: int) -> int:
    """A share of k places, at least one."""
    # The small term keeps 0.2 of 10 places at two: the product is above 2 in binary.
    return max(1, math.ceil(share * k - 1e-9))


def check_share(option: str, share: float) -> None:
    """Raises UsageError for a share that cannot be right."""
    if not 0 < share <= 1:
        raise UsageError(f"{option} {share}: choose a share above 0, at most 1")
