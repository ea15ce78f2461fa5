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

from socialrec_jax.data.prepare.engines.duckdb import values
from socialrec_jax.data.prepare.engines.duckdb.choices import choose
from socialrec_jax.data.prepare.engines.duckdb.event_files import (
    take_types_of_file_names,
    warn_of_newest_first,
)
from socialrec_jax.data.prepare.engines.duckdb.expressions import (
    Expressions,
    expressions_of,
    values_of,
)
from socialrec_jax.data.prepare.engines.duckdb.files import BROKEN, columns_of, relation
from socialrec_jax.data.prepare.engines.duckdb.instants import seconds
from socialrec_jax.data.prepare.engines.duckdb.sql import INTERNAL, name, readable_file
from socialrec_jax.data.prepare.engines.duckdb.staged import (
    StagedTable,
    add_columns,
    reject,
    settle_times,
    shortened,
)
from socialrec_jax.data.prepare.engines.duckdb.types import STAGED_TYPES
from socialrec_jax.data.prepare.engines.duckdb.unparsed import unparsed_records
from socialrec_jax.data.prepare.engines.duckdb.values import Check
from socialrec_jax.data.prepare.engines.duckdb.vectors import extra_columns
from socialrec_jax.data.prepare.engines.engine import Part
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.prepare.schema import TABLES

# the reasons that come before those of a table's own checks, by number
BLANK_LINE, BROKEN_LINE = 0, 1
LINE_REASONS: tuple[tuple[str | None, str], ...] = (
    (None, "is a blank line"),
    (None, "is not a JSON object"),
)
ODD_LENGTH = "has another length than most"
BAD = name(INTERNAL + "bad")
# nanoseconds of events without times: a second a row, or any order
_ORDERS = {
    "time": "stamp",
    "file": "rowid::BIGINT * 1000000000",
    "random": "(md5_number_lower(rowid::VARCHAR) % 1000000000)::BIGINT * 1000000000",
}


def stage(
    con: duckdb.DuckDBPyConnection, table: str, sources: Sequence[Source], rules: Rules
) -> StagedTable:
    """Read the sources into `<table>_rows`; see `Engine.stage`."""
    types = {source: columns_of(con, source) for source in sources}
    choices = {source: choose(con, source, table, types[source], rules) for source in sources}
    if table == "events":
        take_types_of_file_names(choices)
    # all files are known before the first is read: they share the columns beyond the fields
    known = {source: choice.columns_used for source, choice in choices.items()}
    extras = extra_columns(con, table, types, known, rules)
    unused = _unused(types, known, extras)
    staged = StagedTable(table, [], list(LINE_REASONS), extras, unused=unused)

    con.execute(
        f"CREATE OR REPLACE TABLE {table}_rows ({', '.join(_staged_columns(table, extras))})"
    )
    for source, choice in choices.items():
        fields = values_of(source, table, types[source], choice)
        add_columns(staged, source, {field: value.shown for field, value in fields.items()})
        with readable_file(source.path):
            expressions = expressions_of(table, fields, rules)
            staged.parts.append(_insert(con, staged, source, types[source], expressions))
    _reject_minorities(con, staged, rules)
    if table == "events" and rules.order == "time":
        warn_of_newest_first(con, staged)
    _show_good_rows(con, table, rules)
    return staged


def _unused(
    types: Mapping[Source, Mapping[str, str]],
    known: Mapping[Source, set[str]],
    extras: Sequence[str],
) -> list[str]:
    """Columns of the files that nothing is made of."""
    used = {column.lower() for column in extras}
    columns = [c for source, of_file in types.items() for c in of_file if c not in known[source]]
    return [column for column in dict.fromkeys(columns) if column.lower() not in used]


def _staged_columns(table: str, extras: Sequence[str]) -> list[str]:
    columns = []
    for field in TABLES[table]:
        # a time is settled when all rows are known: until then, two ways to read it
        if field.kind == "time":
            columns += ["stamp BIGINT", "unit TINYINT", "other BIGINT"]
        else:
            columns.append(f"{field.name} {STAGED_TYPES.get(field.kind, 'VARCHAR')}")
    if table == "items":
        columns.append("vector FLOAT[]")
    else:
        columns += [f"{name('extra ' + extra)} VARCHAR" for extra in extras]
    return [*columns, "bad USMALLINT", "raw VARCHAR"]


def _show_good_rows(con: duckdb.DuckDBPyConnection, table: str, rules: Rules) -> None:
    # a view, so that rejecting more rows later needs no copy
    has_time = any(field.kind == "time" for field in TABLES[table])
    columns = "*"
    if has_time:
        stamp = "stamp" if table == "social" else _ORDERS[rules.order]
        columns = f"* EXCLUDE (stamp, unit, other), {stamp} AS stamp, {seconds(stamp)} AS time"
    con.execute(
        f"""
        CREATE OR REPLACE VIEW {table} AS
        SELECT rowid AS row, {columns} FROM {table}_rows WHERE bad IS NULL
        """
    )


def _reject_minorities(con: duckdb.DuckDBPyConnection, staged: StagedTable, rules: Rules) -> None:
    """Times in another notation, and vectors of another length, than most of the table's rows."""
    has_time = any(field.kind == "time" for field in TABLES[staged.table])
    if has_time and staged.parts:
        settle_times(con, staged, rules)
    if staged.table == "items" and staged.extras:
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
    # the length of most vectors is right; ties go to the shorter one
    if len(counts) > 1:
        most_frequent = counts[0][0]
        differs = f"{key} <> {most_frequent}"
        reject(con, staged, dataclasses.replace(check, condition=differs))


def _insert(
    con: duckdb.DuckDBPyConnection,
    staged: StagedTable,
    source: Source,
    types: Mapping[str, str],
    expressions: Expressions,
) -> Part:
    _add_extras(expressions, staged, types)
    checks = expressions.checks
    first_reason = _number_reasons(staged, checks)
    # the raw value is kept for bad rows alone, where a person looks at it
    raw_values = "".join(
        f" WHEN {number} THEN {shortened(check.value)}"
        for number, check in enumerate(checks, first_reason)
    )

    first_row = staged.parts[-1].end_row if staged.parts else 0
    # what DuckDB rejected of the file before is not part of this one
    if source.kind != "parquet":
        con.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    inserted = con.execute(
        f"""
        INSERT INTO {staged.table}_rows
        SELECT {", ".join(expressions.selected)}, {BAD},
            CASE {BAD} WHEN {BROKEN_LINE} THEN {shortened(name(BROKEN))} {raw_values} END
        FROM {_checked_relation(source, types, expressions, first_reason)}
        """
    ).fetchall()[0][0]
    return Part(source, first_row, first_row + inserted, unparsed_records(con, source))


def _number_reasons(staged: StagedTable, checks: Sequence[Check]) -> int:
    """The number of the first of a file's reasons; files with the same checks share them."""
    reasons: list[tuple[str | None, str]] = [(check.column, check.reason) for check in checks]
    count = len(reasons)
    for start in range(len(staged.reasons) - count + 1):
        if staged.reasons[start : start + count] == reasons:
            return start
    staged.reasons.extend(reasons)
    return len(staged.reasons) - count


def _checked_relation(
    source: Source, types: Mapping[str, str], expressions: Expressions, first_reason: int
) -> str:
    """The file's rows with the number of the first reason that makes them bad."""
    rows = relation(source, types)
    # nested, so that a value that several checks use is computed once
    for columns in expressions.layers:
        rows = f"(SELECT *, {', '.join(columns)} FROM {rows})"
    broken, numbered = name(BROKEN), enumerate(expressions.checks, first_reason)
    bad = "".join(f" WHEN {check.condition} THEN {number}" for number, check in numbered)
    return f"""(
        SELECT *, CASE WHEN {broken} = '' THEN {BLANK_LINE}
            WHEN {broken} IS NOT NULL THEN {BROKEN_LINE} {bad} END AS {BAD}
        FROM {rows}
    )"""


def _add_extras(expressions: Expressions, staged: StagedTable, types: Mapping[str, str]) -> None:
    """The columns beyond the fields; files of one table may differ in them."""
    # part files may spell one column `Region` and `region`
    columns = {column.lower() for column in types}
    present = [extra for extra in staged.extras if extra.lower() in columns]
    if staged.table == "items":
        expressions.selected.append(values.vector_sql(present))
        for extra in present:
            expressions.checks += values.vector_checks(extra)
    else:
        expressions.selected += [
            f"{name(extra)}::VARCHAR" if extra in present else "NULL" for extra in staged.extras
        ]
