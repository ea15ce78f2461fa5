"""What several files of events, and the order of their rows, say together."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from socialrec_jax.data.prepare.derived import Constant
from socialrec_jax.data.prepare.engines.duckdb.sampling import SAMPLE_ROWS, Choice
from socialrec_jax.data.prepare.engines.statements.database import Database
from socialrec_jax.data.prepare.readers import Source

log = logging.getLogger(__name__)
_TYPES = re.compile(
    "(page_?)?(view|click|visit|impression|purchase|order|transaction|buy|sale|cart|add_?to_?cart|"
    "like|rating|review|favou?rite|wish_?list|share|comment|play|listen|checkin|bookmark)s?"
)
_NEWEST_FIRST = (
    "events: rows come newest first, and some of a user share a time: within it their order is "
    "that of the file, so the newest counts as the oldest; sort the rows by time"
)


def take_types_of_file_names(choices: Mapping[Source, Choice]) -> None:
    """Files such as views.csv beside purchases.csv say the type of their events."""
    # what a column or a layout says goes before names
    if any("event_type" in (*choice.columns, *choice.derived) for choice in choices.values()):
        return
    names = {source: source.path.name.split(".")[0].lower() for source in choices}
    # a single file, or part-0.csv, says nothing of its events
    if len(set(names.values())) < 2 or not all(map(_TYPES.fullmatch, names.values())):
        return
    for source, choice in choices.items():
        choice.derived["event_type"] = Constant(names[source])


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
                WHERE bad IS NULL AND rowid < {SAMPLE_ROWS}
            )
        )
        """
    )[0]
    # without ties the times alone say the order
    if falling and tied and not rising:
        log.warning(_NEWEST_FIRST)
