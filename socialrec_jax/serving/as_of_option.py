"""The option --as-of: which time it names, and whether anything is known then."""

from __future__ import annotations

import datetime
import logging

from socialrec_jax.data.as_of import AsOf, unix_seconds
from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION, NOW, World
from socialrec_jax.errors import UsageError

log = logging.getLogger(__name__)
# Besides unix seconds and ISO 8601 times.
_NAMED_TIMES = {"now": NOW, "validation": BEFORE_VALIDATION, "test": BEFORE_TEST}


def parse_as_of(time: AsOf | datetime.date | int | str) -> AsOf:
    """now, validation, test, unix seconds or an ISO 8601 time (UTC unless it says otherwise).

    A date is its midnight.
    """
    if isinstance(time, AsOf):
        return time
    if isinstance(time, str) and time in _NAMED_TIMES:
        return _NAMED_TIMES[time]
    try:
        return AsOf.time(_unix_seconds(time))
    except ValueError:
        raise UsageError(
            f"--as-of {time}: give now, validation, test, unix seconds or a time like 2024-05-01"
        ) from None


def warn_of_no_events(world: World, as_of: AsOf) -> None:
    """Log a time before all events, at which nobody is known."""
    if as_of.seconds is not None and as_of.seconds <= world.first_time:
        log.warning(
            "--as-of %s: nothing is known then, for the first event is of %s; all users are "
            "answered as new ones",
            *(_as_text(as_of.seconds), _as_text(world.first_time)),
        )


def _as_text(seconds: int) -> str:
    # A clock of its own begins at about 0, and a time may lie beyond what Python knows.
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
    except (OverflowError, ValueError):
        return str(seconds)


def _unix_seconds(time: datetime.date | int | str) -> int:
    """ValueError: it is no time."""
    text = time.isoformat() if isinstance(time, datetime.date) else str(time)
    # A time before 1970 has a minus sign.
    if text.lstrip("-").isdigit():
        return unix_seconds(int(text))
    parsed = datetime.datetime.fromisoformat(text)
    # A time without a zone is UTC, like the times of the input tables.
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)
    return int(parsed.timestamp())
