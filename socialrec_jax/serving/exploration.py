"""A small share of lists in random order, so that the effect of an item's place can be measured.

What comes back with these lists teaches how often each place is looked at
(`data/features/examination.py`). Which lists are random, and their order, is a hash of user and
time: the same command writes the same rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from socialrec_jax.data import counter_rng
from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.recommendations import Recommendations

COLUMNS = [("timestamp", pa.int64()), ("explored", pa.bool_())]
_CHOICE, _ORDER = 1, 2  # keys of two independent hashes


def check_share(share: float) -> None:
    """Raises UsageError for a share that is none."""
    if not 0 <= share <= 1:
        raise UsageError(f"--explore {share}: choose a share from 0 (off) to 1")


@dataclasses.dataclass(frozen=True)
class Exploration:
    """Which lists are in random order."""

    share: float
    time: int  # unix seconds at which the lists are shown
    numbers: np.ndarray | None = None  # of users in the World, -1 for others; None: their own

    @classmethod
    def now(cls, share: float, world: World, numbers: np.ndarray | None = None) -> Exploration:
        """For lists that are shown after the World's last event."""
        times = world.query_times()
        # Not the clock: the same command must write the same rows.
        return cls(share, int(times[0]) if len(times) else 0, numbers)

    def is_explored(self, users: np.ndarray) -> np.ndarray:
        """Whether the list of each user [q] is in random order: bool.

        Lists of people whom the World does not know never are, as what comes back names no user.
        """
        numbers = self._in_world(users)
        drawn = counter_rng.uniform(_CHOICE, self.time, numbers)
        return (drawn < self.share) & (numbers >= 0)

    def _in_world(self, users: np.ndarray) -> np.ndarray:
        return users if self.numbers is None else self.numbers[users]

    def shuffled(self, part: Recommendations) -> Recommendations:
        """The lists, some of them in random order; ranks are places in that order."""
        places = np.arange(part.items.shape[1])
        numbers = self._in_world(part.users)
        drawn = counter_rng.uniform(_ORDER, self.time, numbers[:, None], places)
        # Lists may be shorter than k: what does not exist stays at the end.
        keys = np.where(self.is_explored(part.users)[:, None], drawn, places)
        order = np.argsort(np.where(part.exists, keys, np.inf), axis=1, kind="stable")
        return part.at_places(order)

    def columns(self, users: np.ndarray) -> list[pa.Array]:
        """`COLUMNS` of rows [n] by their users: when the list is shown, and whether at random."""
        return [pa.array(np.full(len(users), self.time)), pa.array(self.is_explored(users))]
