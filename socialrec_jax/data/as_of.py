"""As of when a query is answered: later events stay hidden."""

from __future__ import annotations

import dataclasses
import datetime

_UNITS = ((1e11, 1), (1e14, 10**3), (1e17, 10**6), (1e20, 10**9))  # end of each, a second in it


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


def unix_seconds(number: int) -> int:
    """Unix seconds of a time as a number: in seconds to nanoseconds, or a date such as 20200131.

    ValueError: it is too large for any of them.
    """
    digits = str(number)
    if len(digits) == 8 and digits[:2] in ("19", "20"):
        date = datetime.datetime.strptime(digits, "%Y%m%d")
        return int(date.replace(tzinfo=datetime.UTC).timestamp())
    for end, second in _UNITS:
        if abs(number) < end:
            return number // second
    raise ValueError(f"{number} is no time")
