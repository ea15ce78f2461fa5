"""A folder of tables, cut by time into a first part and periods that come after it, as in a shop
that is open.

A product is listed in the period of its first event, a user there too, and a friendship in the
period in which both users are known. Products without any event are listed at first.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

_TABLES = ("events", "items", "social", "users")


def write_periods(source: Path, out: Path, num_periods: int, first_share: float) -> list[Path]:
    """Folders out/0 with the oldest share of the events, and out/1.. with equal parts of the rest.

    source: parquet files events, items, social, users with the columns of docs/contracts.md.
    """
    folders = [out / str(period) for period in range(num_periods + 1)]
    with duckdb.connect() as database:
        tables = [name for name in _TABLES if (source / f"{name}.parquet").exists()]
        for name in tables:
            database.execute(f"CREATE VIEW {name} AS FROM '{source / f'{name}.parquet'}'")
        _add_periods(database, num_periods, first_share)
        for period, folder in enumerate(folders):
            folder.mkdir(parents=True, exist_ok=True)
            for name in tables:
                _write(database, name, period, folder / f"{name}.parquet")
    return folders


def _add_periods(database: duckdb.DuckDBPyConnection, num_periods: int, first_share: float) -> None:
    """Views of each table with a column `period`."""
    rest = 1 - first_share
    database.execute(f"""
        CREATE TABLE dated AS
        SELECT *, (row_number() OVER (ORDER BY timestamp, position) - 1) / count(*) OVER ()
            AS share
        FROM (SELECT *, row_number() OVER () AS position FROM events);
        CREATE VIEW events_by_period AS
        SELECT * EXCLUDE (share), greatest(0, 1 + floor((share - {first_share}) / {rest}
            * {num_periods})) AS period
        FROM dated ORDER BY position;
        CREATE VIEW first_of_item AS
        SELECT item, min(period) AS period FROM events_by_period GROUP BY item;
        CREATE VIEW first_of_user AS
        SELECT "user", min(period) AS period FROM events_by_period GROUP BY "user";
    """)


def _write(database: duckdb.DuckDBPyConnection, table: str, period: int, file: Path) -> None:
    """One table of one period, where it has rows."""
    rows = {
        "events": "SELECT * EXCLUDE (position) FROM events_by_period",
        "items": "SELECT items.*, coalesce(period, 0) AS period FROM items LEFT JOIN "
        "first_of_item USING (item)",
        "users": "SELECT users.*, coalesce(period, 0) AS period FROM users LEFT JOIN "
        'first_of_user USING ("user")',
        "social": "SELECT social.*, greatest(coalesce(a.period, 0), coalesce(b.period, 0)) AS "
        'period FROM social LEFT JOIN first_of_user a ON src = a."user" '
        'LEFT JOIN first_of_user b ON dst = b."user"',
    }[table]
    chosen = f"SELECT * EXCLUDE (period) FROM ({rows}) WHERE period = {period}"
    (count,) = database.execute(f"SELECT count(*) FROM ({chosen})").fetchall()[0]
    if count:
        database.execute(f"COPY ({chosen}) TO '{file}' (FORMAT parquet)")
