"""Filters of events as SQL."""

from __future__ import annotations

from socialrec_jax.data.prepare.engines.statements.database import Database
from socialrec_jax.data.prepare.filters import Filters

_KEPT = "row, user, item, value, time"


def filter_events(db: Database, filters: Filters, good_events: str) -> dict[str, int]:
    """See `Engine.filter_events`: the view `events` shows what is left.

    good_events: the query of the view `events`.
    """
    db.create_view("unfiltered_events", good_events)
    db.create_table("kept", f"SELECT {_KEPT} FROM unfiltered_events")
    dropped = {option: _drop(db, failed) for option, failed in _failures(filters).items()}
    # last, for other filters may leave users and items with too few events
    dropped["k_core"] = _drop_rare(db, filters)
    db.create_view(
        "events",
        """
        SELECT row, user, item, event_type, value, stamp, time
        FROM unfiltered_events SEMI JOIN kept USING (row)
        """,
    )
    return {option: count for option, count in dropped.items() if count}


def _failures(filters: Filters) -> dict[str, str]:
    """Option -> SQL of the events that do not meet it. An unknown time is not outside."""
    failures = {
        # a blank value is 1, as in the finished columns
        "min_value": (filters.min_value, "coalesce(value, 1) < {}"),
        "since": (filters.since, "time < {}"),
        "until": (filters.until, "time >= {}"),
    }
    return {
        option: condition.format(bound)
        for option, (bound, condition) in failures.items()
        if bound is not None
    }


def _drop(db: Database, condition: str) -> int:
    return _keep(db, f"SELECT {_KEPT} FROM kept WHERE NOT coalesce({condition}, false)")


def _drop_rare(db: Database, filters: Filters) -> int:
    """Drop users and items of few events until all that are left have enough; how many events."""
    leasts = {"user": filters.min_user_events, "item": filters.min_item_events}
    total, dropped = 0, 1
    # users that go may leave items with too few events, and the other way round
    while dropped:
        dropped = sum(_drop_rare_of(db, key, least) for key, least in leasts.items())
        total += dropped
    return total


def _drop_rare_of(db: Database, key: str, least: int) -> int:
    # every user and item that is here has an event
    if least <= 1:
        return 0
    frequent = f"SELECT {key} FROM kept GROUP BY {key} HAVING count(*) >= {least}"
    return _keep(db, f"SELECT {_KEPT} FROM kept SEMI JOIN ({frequent}) USING ({key})")


def _keep(db: Database, query: str) -> int:
    """Keep the rows of a query alone; how many went."""
    before = _count(db)
    db.create_table("kept", query)
    return before - _count(db)


def _count(db: Database) -> int:
    return db.rows("SELECT count(*) FROM kept")[0][0]
