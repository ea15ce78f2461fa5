"""Raw files to checked rows: each table is staged once in a scratch database.

Good and bad rows alike lie in `<table>_rows`. A staged row keeps its place (`rowid` = position over
all files), its clean values, and for a bad row the number of the reason and the raw value. The view
`<table>` shows the good ones.

Order is meaning here: ties in time keep the file's order. So rows are inserted file by file, and
the connection keeps the order of rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import duckdb

from socialrec_jax.data.prepare import schema
from socialrec_jax.data.prepare.engines.duckdb import values
from socialrec_jax.data.prepare.engines.duckdb.files import (
    BROKEN,
    columns_of,
    derived_sql,
    relation,
)
from socialrec_jax.data.prepare.engines.duckdb.sql import FILE_ERRORS, name
from socialrec_jax.data.prepare.engines.duckdb.values import Check
from socialrec_jax.data.prepare.engines.engine import Part, UnparsedRecord
from socialrec_jax.data.prepare.readers import Source, readable
from socialrec_jax.data.prepare.schema import TABLES, Field
from socialrec_jax.errors import BadData

# the reasons that come before those of a table's own checks, by number
BLANK_LINE, BROKEN_LINE = 0, 1
LINE_REASONS: tuple[tuple[str | None, str], ...] = (
    (None, "is a blank line"),
    (None, "is not a JSON object"),
)
MAX_VALUE_LENGTH = 200  # characters of a bad value that are kept
ODD_UNIT = "is in another unit (seconds, milli-, microseconds) than most"
ODD_LENGTH = "has another length than most"


@dataclasses.dataclass(frozen=True)
class StagedTable:
    """One table in the scratch database; `reasons` explains the numbers in its column `bad`."""

    table: str
    parts: list[Part]
    reasons: list[tuple[str | None, str]]  # (column, reason)
    extras: list[str]  # attributes of users, vectors of items


def stage(con: duckdb.DuckDBPyConnection, table: str, sources: Sequence[Source]) -> StagedTable:
    """Read the sources into `<table>_rows`; see `Engine.stage`."""
    columns = {source: columns_of(con, source) for source in sources}
    extras = _extras(con, table, columns)
    staged = StagedTable(table, [], list(LINE_REASONS), extras)

    con.execute(f"CREATE TABLE {table}_rows ({', '.join(_staged_columns(table, extras))})")
    for source, types in columns.items():
        matched = _match(source, table, types)
        with readable(source.path, *FILE_ERRORS):
            staged.parts.append(_insert(con, staged, source, types, matched))
    _reject_minorities(con, staged)
    _show_good_rows(con, table)
    return staged


def reject(con: duckdb.DuckDBPyConnection, staged: StagedTable, check: Check) -> int:
    """Mark the good rows that meet a check's condition as bad; how many they were."""
    staged.reasons.append((check.column, check.reason))
    marked = con.execute(
        f"""
        UPDATE {staged.table}_rows
        SET bad = {len(staged.reasons) - 1}, raw = {_shortened(check.value)}
        WHERE bad IS NULL AND ({check.condition})
        """
    ).fetchone()
    return marked[0] if marked else 0


def _staged_columns(table: str, extras: Sequence[str]) -> list[str]:
    columns = []
    for field in TABLES[table]:
        if field.kind == "time":
            columns += ["stamp DOUBLE", "unit TINYINT"]
        else:
            columns.append(f"{field.name} {values.STAGED_TYPES.get(field.kind, 'VARCHAR')}")
    if table == "items":
        columns.append("vector FLOAT[]")
    else:
        columns += [f"{name('extra ' + extra)} VARCHAR" for extra in extras]
    return [*columns, "bad UTINYINT", "raw VARCHAR"]


def _show_good_rows(con: duckdb.DuckDBPyConnection, table: str) -> None:
    has_time = any(field.kind == "time" for field in TABLES[table])
    time = ", floor(stamp / pow(1000, coalesce(unit, 0)))::BIGINT AS time" if has_time else ""
    con.execute(
        f"""
        CREATE OR REPLACE VIEW {table} AS
        SELECT rowid AS row, * {time} FROM {table}_rows WHERE bad IS NULL
        """
    )


def _reject_minorities(con: duckdb.DuckDBPyConnection, staged: StagedTable) -> None:
    """Times in another unit, and vectors of another length, than most of the table's rows."""
    if any(field.kind == "time" for field in TABLES[staged.table]):
        _reject_minority(con, staged, "unit", Check("timestamp", "stamp", "", ODD_UNIT))
    if staged.table == "items":
        _reject_minority(con, staged, "len(vector)", Check("vector", "vector", "", ODD_LENGTH))


def _reject_minority(
    con: duckdb.DuckDBPyConnection, staged: StagedTable, key: str, check: Check
) -> None:
    counts = con.execute(
        f"""
        SELECT {key}, count(*) FROM {staged.table}_rows
        WHERE bad IS NULL AND {key} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1
        """
    ).fetchall()
    # the unit of most rows is right: a stray one would otherwise move an event by centuries
    if len(counts) > 1:
        most_frequent = counts[0][0]
        differs = f"{key} <> {most_frequent}"
        reject(con, staged, dataclasses.replace(check, condition=differs))


def _match(source: Source, table: str, types: Mapping[str, str]) -> dict[str, str]:
    """Field name -> SQL of its raw value. BadData: a required one is missing or cannot be read."""
    fields = TABLES[table]
    columns = schema.match(fields, types)
    known = {*columns, *source.derived}
    # named together, so that one run says all that is missing
    missing = [field.name for field in fields if field.required and field.name not in known]
    if missing:
        raise BadData(
            f"{source.path}: {table} need a column {' and a column '.join(missing)} "
            f"(or a synonym, see docs/data.md); found: {', '.join(types)}"
        )

    matched = {}
    for field in fields:
        if field.name in source.derived:
            matched[field.name] = derived_sql(source.derived[field.name])
        elif field.name in columns:
            _check_type(source, field, columns[field.name], types)
            matched[field.name] = name(columns[field.name])
    return matched


def _check_type(source: Source, field: Field, column: str, types: Mapping[str, str]) -> None:
    if not values.fits(field.kind, types[column]):
        listed = ", ".join(f"{other} ({kind})" for other, kind in types.items())
        raise BadData(
            f"{source.path}: column {column} cannot be read as {field.name}; found: {listed}"
        )


def _insert(
    con: duckdb.DuckDBPyConnection,
    staged: StagedTable,
    source: Source,
    types: Mapping[str, str],
    matched: Mapping[str, str],
) -> Part:
    selected, checks = _expressions(staged, types, matched)
    checked = _checked_relation(source, types, checks, first_reason=len(staged.reasons))
    raw_values = "".join(
        f" WHEN {number} THEN {_shortened(check.value)}"
        for number, check in enumerate(checks, len(staged.reasons))
    )
    staged.reasons.extend((check.column, check.reason) for check in checks)

    first_row = staged.parts[-1].end_row if staged.parts else 0
    # what DuckDB rejected of the file before is not part of this one
    if source.kind != "parquet":
        con.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    inserted = con.execute(
        f"""
        INSERT INTO {staged.table}_rows
        SELECT {", ".join(selected)}, bad,
            CASE bad WHEN {BROKEN_LINE} THEN {_shortened(name(BROKEN))} {raw_values} END
        FROM {checked}
        """
    ).fetchall()[0][0]
    return Part(source, first_row, first_row + inserted, _unparsed(con, source))


def _checked_relation(
    source: Source, types: Mapping[str, str], checks: Sequence[Check], first_reason: int
) -> str:
    """The file's rows with the number of the first reason that makes them `bad`."""
    broken = name(BROKEN)
    bad = "".join(
        f" WHEN {check.condition} THEN {number}"
        for number, check in enumerate(checks, first_reason)
    )
    return f"""(
        SELECT *, CASE WHEN {broken} = '' THEN {BLANK_LINE}
            WHEN {broken} IS NOT NULL THEN {BROKEN_LINE} {bad} END AS bad
        FROM {relation(source, types)}
    )"""


def _expressions(
    staged: StagedTable, types: Mapping[str, str], matched: Mapping[str, str]
) -> tuple[list[str], list[Check]]:
    """SQL of each staged value, and the checks, in the table's order."""
    selected, checks = [], []
    type_of = {name(column): kind for column, kind in types.items()}
    for field in TABLES[staged.table]:
        column = matched.get(field.name, "NULL")
        sql_type = type_of.get(column, "VARCHAR")
        selected.append(values.value_sql(field.kind, column, sql_type))
        if field.kind == "time":
            selected.append(values.unit_sql(column, sql_type))
        # a field that the file lacks cannot be bad
        if column != "NULL":
            checks += values.checks_of(field.kind, field.name, column, sql_type)

    # files of one table may differ in their extra columns
    present = [extra for extra in staged.extras if extra in types]
    if staged.table == "items":
        selected.append(values.vector_sql(present))
        checks += [check for extra in present for check in values.vector_checks(extra)]
    else:
        selected += [
            f"{name(extra)}::VARCHAR" if extra in present else "NULL" for extra in staged.extras
        ]
    return selected, checks


def _shortened(value: str) -> str:
    return f"left(({value})::VARCHAR, {MAX_VALUE_LENGTH})"


def _extras(
    con: duckdb.DuckDBPyConnection, table: str, columns: Mapping[Source, Mapping[str, str]]
) -> list[str]:
    """Columns beyond the fields: every attribute of users, the lists of numbers of items."""
    if table not in ("items", "users"):
        return []
    extras: dict[str, None] = {}
    for source, types in columns.items():
        known = {*schema.match(TABLES[table], types).values(), *source.derived}
        for column in types:
            if column in known:
                continue
            if table == "users" or _is_vector(con, source, types, column):
                extras[column] = None
    return list(extras)


def _is_vector(
    con: duckdb.DuckDBPyConnection, source: Source, types: Mapping[str, str], column: str
) -> bool:
    sql_type = types[column]
    if sql_type not in ("VARCHAR", "ARRAY"):
        return bool(values.NUMERIC.match(sql_type.split("[")[0])) and sql_type.endswith("]")

    # text may hold a list of numbers; the first value that is not blank decides
    quoted = name(column)
    with readable(source.path, *FILE_ERRORS):
        first = con.execute(
            f"SELECT {quoted} FROM {relation(source, types)} WHERE trim({quoted}) <> '' LIMIT 1"
        ).fetchone()
        if first is None:
            return False
        query = "SELECT starts_with($1, '[') AND try_cast($1 AS FLOAT[]) IS NOT NULL"
        return bool(con.execute(query, [first[0]]).fetchall()[0][0])


def _unparsed(con: duckdb.DuckDBPyConnection, source: Source) -> list[UnparsedRecord]:
    """What DuckDB's CSV reader stored of its last scan; a quote that is never closed is fatal."""
    if source.kind == "parquet":
        return []
    errors = con.execute(
        """
        SELECT line, any_value(column_name), any_value(csv_line), any_value(error_message)
        FROM reject_errors GROUP BY line ORDER BY line
        """
    ).fetchall()
    unparsed = []
    for line, column, raw, message in errors:
        if "unterminated quote" in message:  # it swallows every line after it
            raise BadData(
                f"{source.path}: record {line} opens a quote that is never closed; "
                "double the quotes in text"
            )
        value = (raw or "").strip()[:MAX_VALUE_LENGTH]
        unparsed.append(UnparsedRecord(line, column, value, message.rstrip(".")))
    return unparsed
