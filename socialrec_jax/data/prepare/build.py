"""Checked rows to numbered, sorted columns: the SQL between `tables.py` and the World.

Users and items are numbered by the md5 of their ids: the same on every machine, and free of the
order of first appearance, which tells a model what comes next. Sorting and joining stay inside
DuckDB, which spills to disk; columns come out in slices, so the peak of memory is the finished
column and one slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.readers import name as quoted
from socialrec_jax.data.prepare.readers import text
from socialrec_jax.data.world import NO_TIME, Events, Friends, Items
from socialrec_jax.errors import BadData

SLICE = 2_000_000  # rows fetched at a time
MAX_EVENT_TYPES = 256  # they are stored as uint8
DEFAULT_TYPE = "event"


def number_ids(con: duckdb.DuckDBPyConnection) -> tuple[Strings, Strings]:
    """Tables `user_ids` and `item_ids` (id, number); returns the ids in the order of their
    numbers.
    """
    _number(con, "user_ids", "SELECT user FROM events", "SELECT src FROM social", "SELECT dst FROM social",
            "SELECT user FROM users")  # fmt: skip
    _number(con, "item_ids", "SELECT item FROM events", "SELECT item FROM items")
    return strings(con, "user_ids", "id", "number"), strings(con, "item_ids", "id", "number")


def fill_times(con: duckdb.DuckDBPyConnection) -> int:
    """View `timed_events`: an event of unknown time gets that of the same user's event before it in
    the file, else of the next one that has a time, else the oldest of all, so that it keeps its
    place. Returns how many were filled.
    """
    unknown, known = con.execute(
        "SELECT count(*) FILTER (time IS NULL), count(time) FROM events"
    ).fetchall()[0]
    if not known:
        raise BadData(
            "events: no event has a timestamp"
            if unknown
            else "events: the table has no usable rows"
        )
    filled = """coalesce(last_value(time IGNORE NULLS) OVER (PARTITION BY user ORDER BY row),
        first_value(time IGNORE NULLS) OVER (PARTITION BY user ORDER BY row ROWS BETWEEN CURRENT ROW AND UNBOUNDED
        FOLLOWING), (SELECT min(time) FROM events))"""
    con.execute("CREATE TABLE untimed_users AS SELECT DISTINCT user FROM events WHERE time IS NULL")
    con.execute(
        f"""CREATE VIEW timed_events AS
        SELECT row, user, item, event_type, value, time FROM events ANTI JOIN untimed_users USING (user) UNION ALL
        SELECT row, user, item, event_type, value, {filled} FROM events SEMI JOIN untimed_users USING (user)"""
    )
    return unknown


def name_event_types(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Table `event_types` (name, number), most frequent first; blank types are DEFAULT_TYPE."""
    con.execute(
        f"""CREATE TABLE event_types AS SELECT name, row_number() OVER (ORDER BY count DESC, name) - 1 AS number
        FROM (SELECT coalesce(nullif(trim(event_type), ''), '{DEFAULT_TYPE}') AS name, count(*) AS count
        FROM events GROUP BY 1)"""
    )
    types = [
        name for (name,) in con.execute("SELECT name FROM event_types ORDER BY number").fetchall()
    ]
    if len(types) > MAX_EVENT_TYPES:
        raise BadData(
            f"events: {len(types)} event types, {MAX_EVENT_TYPES} at most; is event_type the right column?"
        )
    return types


def events(con: duckdb.DuckDBPyConnection, num_users: int) -> Events:
    """All events by (user, time, place in the file)."""
    con.execute(
        f"""CREATE TABLE sorted_events AS
        SELECT u.number::INTEGER AS user, i.number::INTEGER AS item, e.time, t.number::UTINYINT AS type,
        coalesce(e.value, 1) AS value FROM timed_events e JOIN user_ids u ON e.user = u.id
        JOIN item_ids i ON e.item = i.id
        JOIN event_types t ON coalesce(nullif(trim(e.event_type), ''), '{DEFAULT_TYPE}') = t.name
        ORDER BY u.number, e.time, e.row"""
    )
    rows = fetch(
        con,
        "sorted_events",
        user=np.int32,
        item=np.int32,
        time=np.int64,
        type=np.uint8,
        value=np.float32,
    )
    offsets = offsets_of(rows["user"], num_users)
    return Events(offsets, rows["item"], rows["time"], rows["type"], rows["value"])


def friends(
    con: duckdb.DuckDBPyConnection, num_users: int, direction: str
) -> tuple[Friends, dict[str, int]]:
    """The friend graph, and how many self loops and repeated edges were dropped; of repeats the
    largest weight and the earliest time stay, where an unknown time is the earliest."""
    counts = con.execute(
        "SELECT count(*) FILTER (src = dst), count(*) FILTER (src <> dst), "
        "count(DISTINCT CASE WHEN src <> dst THEN (src, dst) END) FROM social"
    ).fetchall()[0]
    ways = {"out": ["src, dst"], "in": ["dst, src"], "both": ["src, dst", "dst, src"]}[direction]
    edges = " UNION ALL ".join(
        f"SELECT {way}, weight, time FROM social WHERE src <> dst" for way in ways
    )
    con.execute(
        f"""CREATE TABLE edges AS
        SELECT u.number::INTEGER AS user, f.number::INTEGER AS friend, max(coalesce(weight, 1)) AS weight,
        min(coalesce(time, '{NO_TIME}'::BIGINT)) AS time FROM ({edges}) AS edge(user, friend, weight, time)
        JOIN user_ids u ON edge.user = u.id JOIN user_ids f ON edge.friend = f.id GROUP BY ALL ORDER BY 1, 2"""
    )
    rows = fetch(con, "edges", user=np.int32, friend=np.int32, weight=np.float32, time=np.int64)
    graph = Friends(
        offsets_of(rows["user"], num_users), rows["friend"], rows["weight"], rows["time"]
    )
    return graph, {"self_loops": counts[0], "duplicate_edges": counts[1] - counts[2]}


def items(con: duckdb.DuckDBPyConnection, ids: Strings) -> Items:
    """What is known of every item, in the order of numbers; vectors that an item lacks are
    zeros.
    """
    con.execute(
        """CREATE TABLE sorted_items AS SELECT items.* EXCLUDE (row, item, bad, raw), number::INTEGER AS number
        FROM item_ids LEFT JOIN items ON item_ids.id = items.item ORDER BY number"""
    )
    con.execute("UPDATE sorted_items SET available = true WHERE available IS NULL")
    con.execute("UPDATE sorted_items SET price = 'nan' WHERE price IS NULL")
    rows = fetch(con, "sorted_items", price=np.float32, available=np.bool_)
    return Items(
        ids=ids,
        titles=strings(con, "sorted_items", "title"),
        descriptions=strings(con, "sorted_items", "description"),
        tags=strings(con, "sorted_items", "tags"),
        categories=strings(con, "sorted_items", "category"),
        prices=rows["price"],
        available=rows["available"],
        vectors=_vectors(con, len(ids)),
    )


def write_users(con: duckdb.DuckDBPyConnection, attributes: Sequence[str], path: Path) -> None:
    """The parquet file of all users in the order of their numbers: user_id, then the attributes as
    text.
    """
    named = {
        attribute: attribute if attribute != "user_id" else "user_id_1" for attribute in attributes
    }
    columns = "".join(f", {quoted('extra ' + old)} AS {quoted(new)}" for old, new in named.items())
    con.execute(
        f"COPY (SELECT id AS user_id{columns} FROM user_ids LEFT JOIN users ON id = user ORDER BY number) "
        f"TO {text(path)} (FORMAT parquet)"
    )


def fetch(con: duckdb.DuckDBPyConnection, table: str, **types: type) -> dict[str, np.ndarray]:
    """Columns of a table without NULLs, in row order."""
    size = con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
    columns = {name: np.empty(size, kind) for name, kind in types.items()}
    for start, part in _slices(con, table, ", ".join(types), size):
        for name, values in part.items():
            columns[name][start : start + len(values)] = values
    return columns


def strings(
    con: duckdb.DuckDBPyConnection, table: str, column: str, order: str = "rowid"
) -> Strings:
    """A text column in the order of another; NULL is the empty string."""
    size = con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
    parts = [
        part[column]
        for _, part in _slices(con, table, f"coalesce({column}, '') AS {column}", size, order)
    ]
    return Strings.of(np.concatenate(parts).tolist() if parts else [])


def offsets_of(owners: np.ndarray, count: int) -> np.ndarray:
    """CSR offsets [count + 1] int64 of sorted owner numbers."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count), dtype=np.int64)])


def _number(con: duckdb.DuckDBPyConnection, table: str, *queries: str) -> None:
    con.execute(
        f"CREATE TABLE {table} AS SELECT id, row_number() OVER (ORDER BY md5(id), id) - 1 AS number "
        f"FROM ({' UNION '.join(queries)}) AS found(id) ORDER BY number"
    )


def _slices(
    con, table: str, columns: str, size: int, order: str = "rowid"
) -> Iterator[tuple[int, dict]]:
    for start in range(0, size, SLICE):
        query = f"SELECT {columns} FROM {table} WHERE {order} >= {start} AND {order} < {start + SLICE} ORDER BY {order}"
        yield start, con.execute(query).fetchnumpy()


def _vectors(con: duckdb.DuckDBPyConnection, count: int) -> np.ndarray:
    query = "SELECT number, unnest(vector) AS entry FROM sorted_items WHERE vector IS NOT NULL ORDER BY number"
    rows = con.execute(query).fetchnumpy()
    owners, places = np.unique(np.asarray(rows["number"]), return_inverse=True)
    width = len(places) // len(owners) if len(owners) else 0
    vectors = np.zeros((count, width), np.float32)
    vectors[owners] = np.asarray(rows["entry"], np.float32).reshape(len(owners), width)
    return vectors
