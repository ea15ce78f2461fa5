"""Checked rows to numbered, sorted tables, and out of the database as columns.

Sorting and joining stay inside the database, which spills to disk. Columns come out in slices, so
the peak of memory is the finished column and one slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import offsets_of
from socialrec_jax.data.prepare.engines.duckdb.instants import seconds
from socialrec_jax.data.prepare.engines.duckdb.sql import name, text
from socialrec_jax.data.prepare.engines.duckdb.values import MISSING_SQL
from socialrec_jax.data.prepare.engines.statements.database import Database
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


def fill_times(db: Database) -> tuple[int, int]:
    """View `timed_events`; see `Engine.fill_times`. Only users with a gap are sorted for it."""
    counts = db.rows("SELECT count(*) FILTER (stamp IS NULL), count(stamp) FROM events")
    unknown, known = counts[0]
    if unknown:
        _fill_times_of_users(db)
    else:
        columns = "row, user, item, event_type, value, stamp"
        db.create_view("timed_events", f"SELECT {columns} FROM events")
    return unknown, known


def _fill_times_of_users(db: Database) -> None:
    # a window over users whose times are all known would only cost a sort
    filled = """coalesce(
        last_value(stamp IGNORE NULLS) OVER (PARTITION BY user ORDER BY row),
        first_value(stamp IGNORE NULLS) OVER (
            PARTITION BY user ORDER BY row ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING),
        (SELECT min(stamp) FROM events)) AS stamp"""
    db.create_table("untimed_users", "SELECT DISTINCT user FROM events WHERE stamp IS NULL")
    db.create_view(
        "timed_events",
        f"""
        SELECT row, user, item, event_type, value, stamp
        FROM events ANTI JOIN untimed_users USING (user)
        UNION ALL
        SELECT row, user, item, event_type, value, {filled}
        FROM events SEMI JOIN untimed_users USING (user)
        """,
    )


def number_by_md5(db: Database, table: str) -> Strings:
    """View `user_ids` or `item_ids` (id, number); the ids in the order of the numbers."""
    # The id breaks the tie of two equal hashes, so the order is total.
    queries = " UNION ".join(_IDS[table])
    return _number_in_order(
        db, table, f"SELECT id FROM ({queries}) AS distinct_ids(id) ORDER BY md5(id), id"
    )


def number_by_first_row(db: Database, table: str) -> Strings:
    """The same by first appearance: in the events, then in `src` and `dst` of social."""
    # for histories that are only answered: nothing learns from the order
    queries = " UNION ALL ".join(_IDS_IN_ORDER[table])
    return _number_in_order(
        db,
        table,
        f"""
        SELECT id FROM ({queries}) AS named(id, place, row) GROUP BY id
        ORDER BY min(place), arg_min(row, (place, row))
        """,
    )


def _number_in_order(db: Database, view: str, query: str) -> Strings:
    """A view of ids and their places in a query's order; the ids."""
    # the place of a row is known without a window, which one task would compute
    db.create_table(f"ordered_{view}", query)
    db.create_view(view, f"SELECT id, rowid::INTEGER AS number FROM ordered_{view}")
    return db.strings(f"ordered_{view}", "id")


def number_event_types(db: Database, types: Mapping[str, str]) -> list[str]:
    """Table `event_types` (raw, name, number), most frequent first; returns the names.

    Types that differ in case, surrounding blanks or what joins words are one, by its most frequent
    spelling.
    types: folded type -> its name, where the user says that several are one.
    """
    # names break ties of counts, so that numbers do not depend on the order of rows
    db.create_table(
        "event_types",
        f"""
        WITH spelled AS (
            SELECT coalesce(event_type, '') AS raw, count(*) AS count FROM events GROUP BY 1),
        renamed AS (SELECT raw, count, {_type_name(types)} AS name FROM spelled),
        named AS (SELECT raw, count, name, {_folded("name")} AS folded FROM renamed),
        ranked AS (
            SELECT folded, name, sum(count) OVER (PARTITION BY folded) AS count,
                row_number() OVER (PARTITION BY folded ORDER BY count DESC, name) AS place
            FROM named),
        numbered AS (
            SELECT folded, name, row_number() OVER (ORDER BY count DESC, name) - 1 AS number
            FROM ranked WHERE place = 1)
        SELECT raw, numbered.name, number FROM named JOIN numbered USING (folded)
        """,
    )
    names = db.rows("SELECT DISTINCT name, number FROM event_types ORDER BY number")
    return [name for name, _ in names]


def _folded(name: str) -> str:
    """`rules.folded_type` as SQL."""
    return f"translate(lower({name}), ' -', '__')"


def _type_name(types: Mapping[str, str]) -> str:
    """SQL of the type that a spelling stands for."""
    folded = "lower(trim(raw))"
    # dataframes write codes of types as 1.0
    plain = """CASE WHEN regexp_matches(trim(raw), '^-?[0-9]+[.]0+$')
        THEN split_part(trim(raw), '.', 1) ELSE trim(raw) END"""
    given = f"CASE WHEN {folded} NOT IN {MISSING_SQL} THEN nullif({plain}, '') END"
    renamed = "".join(f" WHEN {text(other)} THEN {text(name)}" for other, name in types.items())
    renamed = f"CASE {_folded('trim(raw)')} {renamed} END" if renamed else "NULL"
    return f"coalesce({renamed}, {given}, '{DEFAULT_TYPE}')"


def events(db: Database, num_users: int) -> Events:
    """See `Engine.events`."""
    # by nanoseconds, before they become seconds: order within a second counts
    db.create_table(
        "sorted_events",
        f"""
        SELECT u.number AS user, i.number AS item, {seconds("e.stamp")} AS time,
            t.number::UTINYINT AS type, coalesce(e.value, 1) AS value
        FROM timed_events e JOIN user_ids u ON e.user = u.id JOIN item_ids i ON e.item = i.id
            JOIN event_types t ON coalesce(e.event_type, '') = t.raw
        ORDER BY u.number, e.stamp, e.row
        """,
    )
    # numbers fit into 32 bits: two billion users or items at most
    kinds = {"user": np.int32, "item": np.int32, "time": np.int64}
    rows = db.columns("sorted_events", **kinds, type=np.uint8, value=np.float32)
    offsets = offsets_of(rows["user"], num_users)
    return Events(offsets, rows["item"], rows["time"], rows["type"], rows["value"])


def friends(db: Database, num_users: int, direction: str) -> tuple[Friends, dict[str, int]]:
    """See `Engine.friends`."""
    _number_ends(db)
    # counted before the direction doubles them
    dropped = _count_dropped_edges(db)
    _join_edges(db, direction)
    rows = db.columns("edges", user=np.int32, friend=np.int32, weight=np.float32, time=np.int64)
    offsets = offsets_of(rows["user"], num_users)
    return Friends(offsets, rows["friend"], rows["weight"], rows["time"]), dropped


def _number_ends(db: Database) -> None:
    """Table `numbered_edges`: the rows of `social` with the numbers of both ends."""
    db.create_table(
        "numbered_edges",
        f"""
        SELECT s.number AS src, d.number AS dst, coalesce(weight, 1) AS weight,
            coalesce({seconds("stamp")}, '{NO_TIME}'::BIGINT) AS time
        FROM social JOIN user_ids s ON src = s.id JOIN user_ids d ON dst = d.id
        """,
    )


def _join_edges(db: Database, direction: str) -> None:
    """Table `edges`: who is informed and by whom, each pair once."""
    # A user is no friend of their own, whatever the file says.
    edges = " UNION ALL ".join(
        f"SELECT {way}, weight, time FROM numbered_edges WHERE src <> dst"
        for way in _WAYS[direction]
    )
    # by friend as well: later generations find friends by bisection
    db.create_table(
        "edges",
        f"""
        SELECT user, friend, max(weight) AS weight, min(time) AS time
        FROM ({edges}) AS edge(user, friend, weight, time) GROUP BY user, friend ORDER BY 1, 2
        """,
    )


def _count_dropped_edges(db: Database) -> dict[str, int]:
    counts = db.rows(
        """
        SELECT count(*) FILTER (src = dst), count(*) FILTER (src <> dst),
            count(DISTINCT CASE WHEN src <> dst THEN src::BIGINT << 32 | dst END)
        FROM numbered_edges
        """
    )
    loops, edges, distinct = counts[0]
    return {"self_loops": loops, "duplicate_edges": edges - distinct}


def items(db: Database, ids: Strings) -> tuple[Items, np.ndarray]:
    """See `Engine.items`; a vector that an item lacks is zeros."""
    # Items that only events name have a row too, with blanks.
    db.create_table(
        "sorted_items",
        """
        SELECT title, description, tags, category, vector,
            coalesce(price, 'nan'::FLOAT) AS price, coalesce(available, true) AS available,
            available IS NOT NULL AS availability_known
        FROM item_ids LEFT JOIN items ON item_ids.id = items.item ORDER BY number
        """,
    )
    flags = {"available": np.bool_, "availability_known": np.bool_}
    rows = db.columns("sorted_items", price=np.float32, **flags)
    columns = Items(
        ids=ids,
        titles=db.strings("sorted_items", "title"),
        descriptions=db.strings("sorted_items", "description"),
        tags=db.strings("sorted_items", "tags"),
        categories=db.strings("sorted_items", "category"),
        prices=rows["price"],
        available=rows["available"],
        vectors=_vectors(db, len(ids)),
    )
    return columns, rows["availability_known"]


def _vectors(db: Database, count: int) -> np.ndarray:
    # all vectors have one length: the others were rejected
    owners, lists = db.lists("sorted_items", "vector")
    vectors = np.zeros((count, lists.shape[1]), np.float32)
    vectors[owners] = lists
    return vectors


def attributes(db: Database, names: Sequence[str]) -> dict[str, Strings]:
    """See `Engine.attributes`."""
    if not names:
        return {}
    columns = {attribute: name("extra " + attribute) for attribute in names}
    db.create_table(
        "sorted_users",
        f"""
        SELECT {", ".join(columns.values())} FROM user_ids LEFT JOIN users ON id = user
        ORDER BY number
        """,
    )
    return {attribute: db.strings("sorted_users", column) for attribute, column in columns.items()}


def described(db: Database, table: str) -> np.ndarray:
    """See `Engine.described`."""
    key, ids = {"items": ("item", "item_ids"), "users": ("user", "user_ids")}[table]
    db.create_table(
        f"described_{table}", f"SELECT number FROM {table} JOIN {ids} ON {table}.{key} = {ids}.id"
    )
    return db.columns(f"described_{table}", number=np.int64)["number"]
