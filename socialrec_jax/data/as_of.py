"""As of when a query is answered: later events stay hidden."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class AsOf:
    """Now, just before a held-out part of the split, or a unix time.

    Made by `now`, `before` and `time`; at most one of the fields is set.
    """

    split: int | None = None  # VALIDATION or TEST: the events before that part are visible
    seconds: int | None = None  # unix seconds: the events strictly before are visible

    @classmethod
    def now(cls) -> AsOf:
        """Everything is visible."""
        return cls()

    @classmethod
    def before(cls, split: int) -> AsOf:
        """Just before each user's events of a part of the split, VALIDATION or TEST."""
        return cls(split=split)

    @classmethod
    def time(cls, seconds: int) -> AsOf:
        """Strictly before a unix time, the same one for everybody."""
        return cls(seconds=seconds)

    @property
    def is_now(self) -> bool:
        return self.split is None and self.seconds is None
