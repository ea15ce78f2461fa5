"""Raw files to checked rows: each table is staged once in a scratch database, good and bad rows
alike.

A staged row keeps its place (`rowid` = position over all files), its clean values, and for a bad
row the number of the reason and the raw value. The views without `_rows` show the good ones. Order
is meaning here: ties in time keep the file's order, so rows are inserted file by file and DuckDB is
told to keep the order.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb

from socialrec_jax.data.prepare import schema
from socialrec_jax.data.prepare.readers import (
    BROKEN,
    Source,
    columns_of,
    name,
    one_line,
    relation,
    text,
)
from socialrec_jax.data.prepare.schema import TABLES, Field
from socialrec_jax.errors import BadData

BLANK_LINE, BROKEN_LINE = 0, 1
CLIP = 200  # characters of a bad value that are kept


@dataclasses.dataclass(frozen=True)
class Part:
    """Where a file's rows lie in the staged table, and the (record number, column, line, reason) it
    could not parse.
    """

    source: Source
    first_row: int
    end_row: int
    unparsed: list[tuple[int, str | None, str, str]]


@dataclasses.dataclass
class Staged:
    """One table in the scratch database; `reasons` explains the numbers in its column `bad`."""

    table: str
    parts: list[Part]
    reasons: list[tuple[str | None, str]]  # (column, reason)
    extras: list[str]  # attributes of users, vectors of items


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that works in `folder`, within 2 GB of memory, and keeps the order of rows."""
    con = duckdb.connect(str(folder / "scratch.duckdb"))
    try:
        con.execute(
            f"SET temp_directory={text(folder / 'spill')}; SET memory_limit='2GB'; SET TimeZone='UTC'"
        )
        con.execute("SET preserve_insertion_order=true; SET enable_progress_bar=false")
        yield con
    finally:
        con.close()


def stage(con: duckdb.DuckDBPyConnection, table: str, sources: Sequence[Source]) -> Staged:
    """Read the sources into `<table>_rows` and show its good rows as the view `<table>`.

    No sources make an empty table. BadData: a file that cannot be read, or lacks a required column.
    """
    fields = TABLES[table]
    columns = {source: columns_of(con, source) for source in sources}
    extras = _extras(con, table, columns)
    staged = Staged(table, [], [(None, "is a blank line"), (None, "is not a JSON object")], extras)
    con.execute(f"CREATE TABLE {table}_rows ({', '.join(_schema(table, extras))})")
    for source, found in columns.items():
        matched = _matched(source, table, fields, found)
        with one_line(source.path):
            staged.parts.append(_insert(con, staged, source, found, matched))
    reject_odd_ones(con, staged)
    _show_good_rows(con, staged)
    return staged


def reject(
    con: duckdb.DuckDBPyConnection, staged: Staged, where: str, column: str, reason: str, value: str
) -> int:
    """Mark the good rows that meet the SQL condition `where` as bad; how many they were."""
    staged.reasons.append((column, reason))
    number = len(staged.reasons) - 1
    marked = con.execute(
        f"UPDATE {staged.table}_rows SET bad = {number}, raw = left(({value})::VARCHAR, {CLIP}) "
        f"WHERE bad IS NULL AND ({where})"
    ).fetchone()
    return marked[0] if marked else 0


def reject_odd_ones(con: duckdb.DuckDBPyConnection, staged: Staged) -> None:
    """Times in another unit, and vectors of another length, than most of the table's rows."""
    shown = {field.kind for field in TABLES[staged.table]}
    if "time" in shown:
        reason = "is in another unit (seconds, milli-, microseconds) than most"
        _reject_minority(con, staged, "unit", "timestamp", reason, "stamp")
    if staged.table == "items":
        _reject_minority(
            con, staged, "len(vector)", "vector", "has another length than most", "vector"
        )


def _reject_minority(con, staged: Staged, key: str, column: str, reason: str, value: str) -> None:
    query = f"SELECT {key}, count(*) FROM {staged.table}_rows WHERE bad IS NULL AND {key} IS NOT NULL GROUP BY 1"
    most, *others = sorted(con.execute(query).fetchall(), key=lambda row: (-row[1], row[0])) or [
        (None, 0)
    ]
    if others:
        reject(con, staged, f"{key} <> {most[0]}", column, reason, value)


def _schema(table: str, extras: Sequence[str]) -> list[str]:
    columns = []
    for field in TABLES[table]:
        columns += ["stamp DOUBLE", "unit TINYINT"] if field.kind == "time" else []
        columns += (
            [f"{field.name} {schema.SQL_TYPES.get(field.kind, 'VARCHAR')}"]
            if field.kind != "time"
            else []
        )
    columns += (
        ["vector FLOAT[]"]
        if table == "items"
        else [f"{name('extra ' + extra)} VARCHAR" for extra in extras]
    )
    return [*columns, "bad UTINYINT", "raw VARCHAR"]


def _show_good_rows(con, staged: Staged) -> None:
    timed = any(field.kind == "time" for field in TABLES[staged.table])
    time = ", floor(stamp / pow(1000, coalesce(unit, 0)))::BIGINT AS time" if timed else ""
    con.execute(
        f"CREATE OR REPLACE VIEW {staged.table} AS SELECT rowid AS row, * {time} FROM {staged.table}_rows "
        "WHERE bad IS NULL"
    )


def _matched(
    source: Source, table: str, fields: Sequence[Field], found: Mapping[str, str]
) -> dict[str, str]:
    """Field name -> SQL of its raw value."""
    columns = schema.match(fields, found)
    missing = [
        field.name
        for field in fields
        if field.required and field.name not in {*columns, *source.columns}
    ]
    if missing:
        raise BadData(
            f"{source.path}: {table} need a column {' and a column '.join(missing)} (or a synonym, see docs/data.md); "
            f"found: {', '.join(found)}"
        )
    for field in fields:
        if field.name in columns and field.name not in source.columns:
            _check_type(source, field, columns[field.name], found)
    return {**{field: name(column) for field, column in columns.items()}, **source.columns}


def _check_type(source: Source, field: Field, column: str, found: Mapping[str, str]) -> None:
    if not schema.fits(field.kind, found[column]):
        listed = ", ".join(f"{column} ({kind})" for column, kind in found.items())
        raise BadData(
            f"{source.path}: column {column} cannot be read as {field.name}; found: {listed}"
        )


def _insert(
    con, staged: Staged, source: Source, found: Mapping[str, str], matched: Mapping[str, str]
) -> Part:
    values, checks = _expressions(staged, source, found, matched)
    first = len(staged.reasons)
    staged.reasons += [(column, reason) for column, _, _, reason in checks]
    numbered = list(enumerate(checks, first))
    bad = "".join(f" WHEN {condition} THEN {number}" for number, (_, _, condition, _) in numbered)
    raw = "".join(
        f" WHEN {number} THEN left(({value})::VARCHAR, {CLIP})"
        for number, (_, value, _, _) in numbered
    )
    broken = name(BROKEN)
    start = _count(con, staged.table)
    con.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    con.execute(
        f"INSERT INTO {staged.table}_rows SELECT {', '.join(values)}, bad, "
        f"CASE bad WHEN {BROKEN_LINE} THEN left({broken}, {CLIP}) {raw} END FROM (SELECT *, "
        f"CASE WHEN {broken} = '' THEN {BLANK_LINE} WHEN {broken} IS NOT NULL THEN {BROKEN_LINE} {bad} END AS bad "
        f"FROM {relation(source, found)})"
    )
    return Part(source, start, _count(con, staged.table), _unparsed(con, source))


def _expressions(
    staged: Staged, source: Source, found: Mapping[str, str], matched: Mapping[str, str]
):
    """SQL of each staged value, and the (column, raw value, condition, reason) of each check, in
    the table's order.
    """
    values, checks = [], []
    types = {name(column): kind for column, kind in found.items()}
    for field in TABLES[staged.table]:
        column = matched.get(field.name, "NULL")
        kind = types.get(column, "VARCHAR")
        values.append(schema.value_sql(field.kind, column, kind))
        values += [schema.unit_sql(column, kind)] if field.kind == "time" else []
        if column != "NULL":
            pairs = schema.bad_sql(field.kind, column, kind)
            checks += [(field.name, column, condition, reason) for condition, reason in pairs]
    if staged.table == "items":
        values.append(_vector_sql([extra for extra in staged.extras if extra in found]))
        checks += [
            check for extra in staged.extras if extra in found for check in _vector_checks(extra)
        ]
    else:
        values += [
            f"{name(extra)}::VARCHAR" if extra in found else "NULL" for extra in staged.extras
        ]
    return values, checks


def _extras(con, table: str, columns: Mapping[Source, Mapping[str, str]]) -> list[str]:
    """Columns beyond the fields: every attribute of users, the lists of numbers of items."""
    extras: dict[str, None] = {}
    for source, found in columns.items():
        known = set(schema.match(TABLES[table], found).values()) | set(source.columns)
        rest = [column for column in found if column not in known]
        if table == "items":
            rest = [column for column in rest if _is_vector(con, source, found, column)]
        extras |= dict.fromkeys(rest if table in ("items", "users") else [])
    return list(extras)


def _is_vector(con, source: Source, found: Mapping[str, str], column: str) -> bool:
    kind = found[column]
    if kind != "VARCHAR" and kind != "ARRAY":
        return bool(schema.NUMERIC.match(kind.split("[")[0])) and kind.endswith("]")
    with one_line(source.path):
        first = con.execute(
            f"SELECT {name(column)} FROM {relation(source, found)} WHERE trim({name(column)}) <> '' LIMIT 1"
        ).fetchone()
        query = "SELECT starts_with($1, '[') AND try_cast($1 AS FLOAT[]) IS NOT NULL"
        return first is not None and bool(con.execute(query, [first[0]]).fetchall()[0][0])


def _vector_sql(columns: Sequence[str]) -> str:
    joined = "NULL::FLOAT[]"
    for column in columns:  # list_concat takes NULL for an empty list
        joined = f"list_concat({joined}, try_cast({name(column)} AS FLOAT[]))"
    return f"nullif({joined}, [])"


def _vector_checks(column: str) -> list[tuple[str, str, str, str]]:
    vector = f"try_cast({name(column)} AS FLOAT[])"
    blank = f"({name(column)} IS NULL OR trim({name(column)}::VARCHAR) = '')"
    unfit = f"len(list_filter({vector}, x -> x IS NULL OR NOT isfinite(x))) > 0"
    return [
        (column, name(column), f"NOT {blank} AND {vector} IS NULL", "is not a list of numbers"),
        (column, name(column), unfit, "holds numbers that are not finite"),
    ]


def _count(con, table: str) -> int:
    return con.execute(f"SELECT count(*) FROM {table}_rows").fetchall()[0][0]


def _unparsed(con, source: Source) -> list[tuple[int, str | None, str, str]]:
    """What DuckDB's CSV reader stored of its last scan; a quote that is never closed is fatal."""
    if source.kind == "parquet":
        return []
    found = con.execute(
        "SELECT line, any_value(column_name), any_value(csv_line), any_value(error_message) FROM reject_errors "
        "GROUP BY line ORDER BY line"
    ).fetchall()
    for line, _, _, message in found:
        if "unterminated quote" in message:  # it swallows every line after it
            raise BadData(
                f"{source.path}: record {line} opens a quote that is never closed; double the quotes in text"
            )
    return [
        (line, column, (raw or "").strip()[:CLIP], message.rstrip("."))
        for line, column, raw, message in found
    ]
