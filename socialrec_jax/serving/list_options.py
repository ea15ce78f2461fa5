"""Options of the lists of `recommend`, declared once for the command line, the library and the
service. Imports little, for the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

Placement = Literal["basket", "buy-again", "trending", "new", "friends"]


class Limits:
    """What the service takes of a value, in the words of pydantic, such as ge and le.

    The command line and the library check options by themselves, against the run where need be.
    """

    # The names are pydantic’s, which is not imported here.
    def __init__(self, **limits: float):
        self._limits = limits

    # pydantic calls it by this name.
    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict]) -> dict:
        return handler(source) | self._limits


# Bounds of a request: one must not take the time of all others.
_Count = Annotated[int, Limits(ge=1, le=1 << 30)]
_Share = Annotated[float, Limits(ge=0, le=1)]
_Weight = Annotated[float, Limits(ge=0, le=1000)]
_Days = Annotated[float, Limits(gt=0, le=100_000)]
_Condition = Annotated[str, Limits(min_length=1, max_length=2000)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListOptions:
    """What decides the list of a user, besides ids and events."""

    k: Annotated[int, Limits(ge=1, le=1000)] = 10
    """Items a user, 1..catalogue."""
    where: _Condition | None = None
    """Only such items, as in "price < 50 and category = 'shoes'", or "tags = user.region"."""
    unavailable: bool = False
    """Recommend items that are not available too."""
    per_category: _Count | None = None
    """At most so many items of one category in a list."""
    diversity: _Share = 0.0
    """From 0 (off) to 1: prefer items unlike those before (maximal marginal relevance)."""
    promote: _Condition | None = None
    """Items that satisfy a condition get a share of the places, the last ones where need be."""
    promote_share: _Share | None = None
    """Of the places, 0.2 by default."""
    boost_popularity: _Weight = 0.0
    """Add so much to the score of the most popular item, less to others; 0 is off."""
    boost_freshness: _Weight = 0.0
    """Add so much to the score of a new item, half of it after 30 days; 0 is off."""
    new_items: _Share = 0.0
    """Share of the places for new items, the last ones where need be; 0 is off."""
    new_items_days: _Days | None = None
    """An item is new for so many days after its first event, 30 by default."""
    repeats: bool = False
    """Recommend items of the user's history again."""
    repeats_half_life: _Days | None = None
    """The same, but lower: half of an item's weight is back so many days after the user had it."""
    placement: Placement | None = None
    """Rank by what goes with the last day, is due again, recently popular, new, or friends had."""
    explore: _Share = 0.0
    """Share of lists in random order, see docs/loop.md; adds columns timestamp and explored."""
