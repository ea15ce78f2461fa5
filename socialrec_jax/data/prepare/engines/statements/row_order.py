"""What the order of the rows of events says."""

from __future__ import annotations

import logging

from socialrec_jax.data.prepare.engines.statements.database import Database

log = logging.getLogger(__name__)
FIRST_ROWS = 1000  # that are looked at
_NEWEST_FIRST = (
    "events: rows come newest first, and some of a user share a time: within it their order is "
    "that of the file, so the newest counts as the oldest; sort the rows by time"
)


def warn_of_newest_first(db: Database) -> None:
    """Log where the first rows fall in time and some of a user tie."""
    # the first rows are enough to see how an export is sorted
    rising, falling, tied = db.rows(
        f"""
        SELECT count(*) FILTER (stamp > before), count(*) FILTER (stamp < before),
            count(*) FILTER (stamp = before AND user = user_before)
        FROM (
            SELECT stamp, user, lag(stamp) OVER (ORDER BY place) AS before,
                lag(user) OVER (ORDER BY place) AS user_before
            FROM (
                SELECT rowid AS place, stamp, user FROM events_rows
                WHERE bad IS NULL AND rowid < {FIRST_ROWS}
            )
        )
        """
    )[0]
    # without ties the times alone say the order
    if falling and tied and not rising:
        log.warning(_NEWEST_FIRST)
