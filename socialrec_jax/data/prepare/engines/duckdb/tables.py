"""Checked rows to numbered, sorted tables, and out of DuckDB as columns.

Sorting and joining stay inside DuckDB, which spills to disk. Columns come out in slices, so the
peak of memory is the finished column and one slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import offsets_of
from socialrec_jax.data.prepare.engines.duckdb.instants import seconds
from socialrec_jax.data.prepare.engines.duckdb.sql import (
    count_rows,
    fetch,
    fetch_strings,
    name,
    text,
)
from socialrec_jax.data.prepare.engines.duckdb.values import MISSING_SQL
from socialrec_jax.data.prepare.schema import DEFAULT_TYPE
from socialrec_jax.data.world import NO_TIME, Events, Friends, Items

# friends and users without events have a number too: they are cold, not unknown
_IDS = {
    "user_ids": (
        *("SELECT user FROM events", "SELECT src FROM social", "SELECT dst FROM social"),
        "SELECT user FROM users",
    ),
    "item_ids": ("SELECT item FROM events", "SELECT item FROM items"),
}
# histories that are only answered: friends come after those who have events
_IDS_IN_ORDER = {
    "user_ids": (
        "SELECT user, 0, row FROM events",
        *("SELECT src, 1, row FROM social", "SELECT dst, 2, row FROM social"),
    ),
    "item_ids": ("SELECT item, 0, row FROM events",),
}
# first who is informed, then by whom; see --data.social-direction
_WAYS = {"out": ["src, dst"], "in": ["dst, src"], "both": ["src, dst", "dst, src"]}


def fill_times(con: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """View `timed_events`; see `Engine.fill_times`. Only users with a gap are sorted for it."""
    counts = con.execute("SELECT count(*) FILTER (stamp IS NULL), count(stamp) FROM events")
    unknown, known = counts.fetchall()[0]
    if not unknown:
        con.execute("CREATE VIEW timed_events AS FROM events")
    else:
        _fill_times_of_users(con)
    return unknown, known


def _fill_times_of_users(con: duckdb.DuckDBPyConnection) -> None:
    # a window over users whose times are all known would only cost a sort
    filled = """coalesce(
        last_value(stamp IGNORE NULLS) OVER (PARTITION BY user ORDER BY row),
        first_value(stamp IGNORE NULLS) OVER (
            PARTITION BY user ORDER BY row ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING),
        (SELECT min(stamp) FROM events)) AS stamp"""
    con.execute(
        "CREATE TABLE untimed_users AS SELECT DISTINCT user FROM events WHERE stamp IS NULL"
    )
    con.execute(
        f"""
        CREATE VIEW timed_events AS
        SELECT row, user, item, event_type, value, stamp
        FROM events ANTI JOIN untimed_users USING (user)
        UNION ALL
        SELECT row, user, item, event_type, value, {filled}
        FROM events SEMI JOIN untimed_users USING (user)
        """
    )


def number_by_md5(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Table `user_ids` or `item_ids` (id, number), in the order of the numbers."""
    # The id breaks the tie of two equal hashes, so the order is total.
    queries = " UNION ".join(_IDS[table])
    con.execute(
        f"""
        CREATE TABLE {table} AS
        SELECT id, (row_number() OVER (ORDER BY md5(id), id) - 1)::INTEGER AS number
        FROM ({queries}) AS distinct_ids(id) ORDER BY number
        """
    )


def number_by_first_row(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """The same table by first appearance: in the events, then in `src` and `dst` of social."""
    # for histories that are only answered: nothing learns from the order
    queries = " UNION ALL ".join(_IDS_IN_ORDER[table])
    con.execute(
        f"""
        CREATE TABLE {table} AS
        WITH places AS (
            SELECT id, min(place) AS place, arg_min(row, (place, row)) AS row
            FROM ({queries}) AS named(id, place, row) GROUP BY id)
        SELECT id, (row_number() OVER (ORDER BY place, row) - 1)::INTEGER AS number
        FROM places ORDER BY number
        """
    )


def number_event_types(con: duckdb.DuckDBPyConnection, types: Mapping[str, str]) -> list[str]:
    """Table `event_types` (raw, name, number), most frequent first; returns the names.

    Types that differ in case or surrounding blanks are one, by its most frequent spelling.
    types: folded type -> its name, where the user says that several are one.
    """
    # names break ties of counts, so that numbers do not depend on the order of rows
    con.execute(
        f"""
        CREATE TABLE event_types AS
        WITH spelled AS (
            SELECT coalesce(event_type, '') AS raw, count(*) AS count FROM events GROUP BY 1),
        named AS (SELECT raw, count, {_type_name(types)} AS name FROM spelled),
        joined AS (
            SELECT lower(name) AS folded, first(name ORDER BY count DESC, name) AS name,
                sum(count) AS count FROM named GROUP BY 1),
        numbered AS (
            SELECT *, row_number() OVER (ORDER BY count DESC, name) - 1 AS number FROM joined)
        SELECT raw, numbered.name, number FROM named JOIN numbered ON lower(named.name) = folded
        """
    )
    names = con.execute("SELECT DISTINCT name, number FROM event_types ORDER BY number").fetchall()
    return [name for name, _ in names]


def _type_name(types: Mapping[str, str]) -> str:
    """SQL of the type that a spelling stands for."""
    folded = "lower(trim(raw))"
    # dataframes write codes of types as 1.0
    plain = "regexp_replace(trim(raw), '^(-?[0-9]+)[.]0+$', '\\1')"
    given = f"CASE WHEN {folded} NOT IN {MISSING_SQL} THEN nullif({plain}, '') END"
    renamed = "".join(f" WHEN {text(other)} THEN {text(name)}" for other, name in types.items())
    renamed = f"CASE {folded} {renamed} END" if renamed else "NULL"
    return f"coalesce({renamed}, {given}, '{DEFAULT_TYPE}')"


def events(con: duckdb.DuckDBPyConnection, num_users: int) -> Events:
    """See `Engine.events`."""
    # by nanoseconds, before they become seconds: order within a second counts
    con.execute(
        f"""
        CREATE TABLE sorted_events AS
        SELECT u.number AS user, i.number AS item, {seconds("e.stamp")} AS time,
            t.number::UTINYINT AS type, coalesce(e.value, 1) AS value
        FROM timed_events e JOIN user_ids u ON e.user = u.id JOIN item_ids i ON e.item = i.id
            JOIN event_types t ON coalesce(e.event_type, '') = t.raw
        ORDER BY u.number, e.stamp, e.row
        """
    )
    # numbers fit into 32 bits: two billion users or items at most
    kinds = {"user": np.int32, "item": np.int32, "time": np.int64}
    rows = fetch(con, "sorted_events", **kinds, type=np.uint8, value=np.float32)
    offsets = offsets_of(rows["user"], num_users)
    return Events(offsets, rows["item"], rows["time"], rows["type"], rows["value"])


def friends(
    con: duckdb.DuckDBPyConnection, num_users: int, direction: str
) -> tuple[Friends, dict[str, int]]:
    """See `Engine.friends`."""
    _number_ends(con)
    # counted before the direction doubles them
    dropped = _count_dropped_edges(con)
    _join_edges(con, direction)
    rows = fetch(con, "edges", user=np.int32, friend=np.int32, weight=np.float32, time=np.int64)
    offsets = offsets_of(rows["user"], num_users)
    return Friends(offsets, rows["friend"], rows["weight"], rows["time"]), dropped


def _number_ends(con: duckdb.DuckDBPyConnection) -> None:
    """Table `numbered_edges`: the rows of `social` with the numbers of both ends."""
    con.execute(
        f"""
        CREATE TABLE numbered_edges AS
        SELECT s.number AS src, d.number AS dst, coalesce(weight, 1) AS weight,
            coalesce({seconds("stamp")}, '{NO_TIME}'::BIGINT) AS time
        FROM social JOIN user_ids s ON src = s.id JOIN user_ids d ON dst = d.id
        """
    )


def _join_edges(con: duckdb.DuckDBPyConnection, direction: str) -> None:
    """Table `edges`: who is informed and by whom, each pair once."""
    # A user is no friend of their own, whatever the file says.
    edges = " UNION ALL ".join(
        f"SELECT {way}, weight, time FROM numbered_edges WHERE src <> dst"
        for way in _WAYS[direction]
    )
    # by friend as well: later generations find friends by bisection
    con.execute(
        f"""
        CREATE TABLE edges AS
        SELECT user, friend, max(weight) AS weight, min(time) AS time
        FROM ({edges}) AS edge(user, friend, weight, time) GROUP BY ALL ORDER BY 1, 2
        """
    )


def _count_dropped_edges(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    counts = con.execute(
        """
        SELECT count(*) FILTER (src = dst), count(*) FILTER (src <> dst),
            count(DISTINCT CASE WHEN src <> dst THEN src::BIGINT << 32 | dst END)
        FROM numbered_edges
        """
    )
    loops, edges, distinct = counts.fetchall()[0]
    return {"self_loops": loops, "duplicate_edges": edges - distinct}


def items(con: duckdb.DuckDBPyConnection, ids: Strings) -> tuple[Items, np.ndarray]:
    """See `Engine.items`; a vector that an item lacks is zeros."""
    # Items that only events name have a row too, with blanks.
    con.execute(
        """
        CREATE TABLE sorted_items AS
        SELECT title, description, tags, category, vector, number,
            coalesce(price, 'nan') AS price, coalesce(available, true) AS available,
            available IS NOT NULL AS availability_known
        FROM item_ids LEFT JOIN items ON item_ids.id = items.item ORDER BY number
        """
    )
    flags = {"available": np.bool_, "availability_known": np.bool_}
    rows = fetch(con, "sorted_items", price=np.float32, **flags)
    columns = Items(
        ids=ids,
        titles=fetch_strings(con, "sorted_items", "title", len(ids)),
        descriptions=fetch_strings(con, "sorted_items", "description", len(ids)),
        tags=fetch_strings(con, "sorted_items", "tags", len(ids)),
        categories=fetch_strings(con, "sorted_items", "category", len(ids)),
        prices=rows["price"],
        available=rows["available"],
        vectors=_vectors(con, len(ids)),
    )
    return columns, rows["availability_known"]


def _vectors(con: duckdb.DuckDBPyConnection, count: int) -> np.ndarray:
    # DuckDB gives lists as one Python object a row, and unnested numbers as one array
    rows = con.execute(
        """
        SELECT number, unnest(vector) AS entry FROM sorted_items
        WHERE vector IS NOT NULL ORDER BY number
        """
    ).fetchnumpy()
    # all vectors have one length: the others were rejected
    owners, places = np.unique(np.asarray(rows["number"]), return_inverse=True)
    width = len(places) // len(owners) if len(owners) else 0
    vectors = np.zeros((count, width), np.float32)
    vectors[owners] = np.asarray(rows["entry"], np.float32).reshape(len(owners), width)
    return vectors


def attributes(con: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, Strings]:
    """See `Engine.attributes`."""
    if not names:
        return {}
    con.execute(
        """
        CREATE TABLE sorted_users AS
        SELECT users.* EXCLUDE (row, user, bad, raw) FROM user_ids LEFT JOIN users ON id = user
        ORDER BY number
        """
    )
    size = count_rows(con, "sorted_users")
    return {
        attribute: fetch_strings(con, "sorted_users", name("extra " + attribute), size)
        for attribute in names
    }


def described(con: duckdb.DuckDBPyConnection, table: str) -> np.ndarray:
    """See `Engine.described`."""
    key, ids = {"items": ("item", "item_ids"), "users": ("user", "user_ids")}[table]
    rows = con.execute(f"SELECT number FROM {table} JOIN {ids} ON {table}.{key} = {ids}.id")
    return np.asarray(rows.fetchnumpy()["number"], np.int64)
