"""What makes a row of a table bad."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Check:
    """A row that meets `condition` is bad: `reason` says what is wrong with its column."""

    column: str
    value: str  # SQL of the raw value
    condition: str  # SQL
    reason: str
