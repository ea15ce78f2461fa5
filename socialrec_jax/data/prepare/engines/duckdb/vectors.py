"""Columns beyond the fields: every attribute of users, the vectors of items.

A vector is a list of numbers that is not empty, of one length throughout. Lists of anything else
are named in the log, and not used.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from socialrec_jax.data.prepare.engines.duckdb import types as sql_types
from socialrec_jax.data.prepare.engines.duckdb.files import relation
from socialrec_jax.data.prepare.engines.duckdb.sql import name, readable_file
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules, plain_name

_NESTED = ("ARRAY", "MIXED", "OBJECT", "STRUCT", "MAP")
log = logging.getLogger(__name__)
SHARE = 0.9  # of the given values must be vectors of one length
# a column of such a name is meant as a vector, so its mistakes are bad rows
SHARE_WHERE_NAMED = 0.5
_NAMED = re.compile(r"(vector|embedding|emb|vec)s?$")
# whole numbers under such a name are ids of other items
_IDS = re.compile(r"(ids|items|products|asins|bought|viewed|related|similar)$")
_FRIENDS = re.compile("(friend|follow|contact|trust).*")


def extra_columns(
    con: duckdb.DuckDBPyConnection,
    table: str,
    columns: Mapping[Source, Mapping[str, str]],
    known: Mapping[Source, set[str]],
    rules: Rules,
) -> list[str]:
    """The extra columns of a table's files. known: what is a field already."""
    if table not in ("items", "users"):
        return []
    free = _free_columns(columns, known, rules)
    if table == "users":
        _name_friends(free)
        return list(free)
    vectors = [c for c, source in free.items() if _is_vector(con, source, columns[source], c)]
    _name_unused(table, columns, [column for column in free if column not in vectors])
    return vectors


def _name_friends(columns: Iterable[str]) -> None:
    """Log the columns of users that look like lists of friends."""
    friends = [column for column in columns if _FRIENDS.fullmatch(plain_name(column))]
    if friends:
        log.warning(
            "users: column %s is kept as text: friendships are read from a table social, with one "
            "pair src, dst a row",
            ", ".join(friends),
        )


def _free_columns(
    columns: Mapping[Source, Mapping[str, str]], known: Mapping[Source, set[str]], rules: Rules
) -> dict[str, Source]:
    """Columns that are no field, each with a file that has it."""
    free: dict[str, Source] = {}
    first_spelling: dict[str, str] = {}
    for source, types in columns.items():
        for column in types:
            if column in known[source] or plain_name(column) in rules.ignored:
                continue
            # part files may write `Region` and `region`, which SQL does not tell apart
            if first_spelling.setdefault(column.lower(), column) == column:
                free[column] = source
    return free


def _name_unused(
    table: str, columns: Mapping[Source, Mapping[str, str]], unused: Sequence[str]
) -> None:
    """Log the columns of lists and objects, or called vectors, that are none."""
    types = {column: kind for of_file in columns.values() for column, kind in of_file.items()}
    nested = [
        column
        for column in unused
        if types[column].endswith("]")
        or types[column].startswith(_NESTED)
        # numbers that are separated by blanks are text, which the user may not expect
        or _NAMED.search(plain_name(column))
    ]
    if nested:
        log.warning("%s: not used, for they hold no vectors: %s", table, ", ".join(nested))


def _is_vector(
    con: duckdb.DuckDBPyConnection, source: Source, types: Mapping[str, str], column: str
) -> bool:
    sql_type, quoted = types[column], name(column)
    if _IDS.search(plain_name(column)):
        return False
    is_typed = bool(sql_types.NUMERIC.match(sql_type.split("[")[0])) and sql_type.endswith("]")
    if not is_typed and sql_type not in ("VARCHAR", "ARRAY"):
        return False
    rows = relation(source, types)
    with readable_file(source.path):
        # most columns of text hold no lists, which the first value shows
        if sql_type == "VARCHAR" and not _begins_with_list(con, rows, quoted):
            return False
        return _share_of_vectors(con, rows, quoted) >= _needed(column)


def _begins_with_list(con: duckdb.DuckDBPyConnection, rows: str, quoted: str) -> bool:
    first = con.execute(
        f"SELECT starts_with(trim({quoted}), '[') FROM {rows} WHERE trim({quoted}) <> '' LIMIT 1"
    ).fetchone()
    return first is not None and bool(first[0])


def _share_of_vectors(con: duckdb.DuckDBPyConnection, rows: str, quoted: str) -> float:
    """The share of given values that are lists of numbers of the most frequent length."""
    lengths = con.execute(
        f"""
        SELECT CASE WHEN len(list_filter(vector, x -> x IS NULL)) = 0 THEN len(vector) END, count(*)
        FROM (SELECT try_cast({quoted} AS FLOAT[]) AS vector FROM {rows}
            WHERE {quoted} IS NOT NULL AND trim({quoted}::VARCHAR) NOT IN ('', 'null'))
        GROUP BY 1
        """
    ).fetchall()
    # an empty list is no vector, but no mistake either
    given = sum(count for length, count in lengths if length != 0)
    most_frequent = max((count for length, count in lengths if length), default=0)
    return most_frequent / given if given else 0.0


def _needed(column: str) -> float:
    return SHARE_WHERE_NAMED if _NAMED.search(plain_name(column)) else SHARE
