"""Conditions that compare an item with its user, such as `tags = user.region`."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.serving.rules.where import Condition

# Values of the attributes that a condition reads.
UserValues = tuple[str, ...]

# The values of an attribute, by the number of the user.
ByUser = Strings | Sequence[str]


@dataclasses.dataclass(eq=False)
class UserMatch:
    """The items that each user may get: one mask for all users with the same attributes."""

    world: World
    condition: Condition
    allowed: np.ndarray | None  # [V] bool: by the rules for everybody, None for all
    attributes: Mapping[str, ByUser]  # {name: the value of each user}

    def __post_init__(self):
        self._masks: dict[UserValues, np.ndarray] = {}
        check_attributes(self.condition.user_attributes, self.world)

    def groups(self, users: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(rows of users [Q], the items [V] bool that they may get) of users with equal values."""
        names = self.condition.user_attributes
        columns = [[self.attributes[name][user] for user in users.tolist()] for name in names]
        rows_of: dict[UserValues, list[int]] = {}
        for row, values in enumerate(zip(*columns, strict=True)):
            rows_of.setdefault(values, []).append(row)
        return [(np.array(rows), self._mask(values)) for values, rows in rows_of.items()]

    def _mask(self, values: UserValues) -> np.ndarray:
        # Reading texts of the whole catalogue takes long, and parts of the users come one by one.
        if values not in self._masks:
            names = self.condition.user_attributes
            matching = self.condition(self.world.items, dict(zip(names, values, strict=True)))
            self._masks[values] = matching if self.allowed is None else matching & self.allowed
        return self._masks[values]


def check_attributes(names: Iterable[str], world: World) -> None:
    """Raises UsageError for an attribute that the users of a World do not have."""
    known = world.attributes
    for name in names:
        if name not in known:
            raise UsageError(
                f"--where: users of this run have no {name!r}{_advice(name, list(known))}"
            )


def _advice(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    suggestion = f"; did you mean {close[0]}?" if close else ""
    return f"; known: {', '.join(known) or 'none'}{suggestion}"
