"""Filters of events as SQL."""

from __future__ import annotations

import duckdb

from socialrec_jax.data.prepare.engines.duckdb.sql import count_rows
from socialrec_jax.data.prepare.filters import Filters


def filter_events(con: duckdb.DuckDBPyConnection, filters: Filters) -> dict[str, int]:
    """See `Engine.filter_events`: the view `events` shows what is left."""
    # `events` is a view, from which no row can be deleted
    con.execute("CREATE TABLE kept AS SELECT row, user, item, value, time FROM events")
    dropped = {option: _drop(con, failed) for option, failed in _failures(filters).items()}
    # last, for other filters may leave users and items with too few events
    dropped["k_core"] = _drop_rare(con, filters)
    con.execute(
        """
        ALTER VIEW events RENAME TO unfiltered_events;
        CREATE VIEW events AS SELECT * FROM unfiltered_events SEMI JOIN kept USING (row)
        """
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


def _drop_rare(con: duckdb.DuckDBPyConnection, filters: Filters) -> int:
    """Drop users and items of few events until all that are left have enough; how many events."""
    before = count_rows(con, "kept")
    left = before + 1
    # users that go may leave items with too few events, and the other way round
    while count_rows(con, "kept") < left:
        left = count_rows(con, "kept")
        for key, least in (("user", filters.min_user_events), ("item", filters.min_item_events)):
            rare = f"SELECT {key} FROM kept GROUP BY {key} HAVING count(*) < {least}"
            _drop(con, f"{key} IN ({rare})")
    return before - left


def _drop(con: duckdb.DuckDBPyConnection, condition: str) -> int:
    dropped = con.execute(f"DELETE FROM kept WHERE {condition}").fetchone()
    return dropped[0] if dropped else 0
