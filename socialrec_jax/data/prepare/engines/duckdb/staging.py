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

from socialrec_jax.data.prepare import times
from socialrec_jax.data.prepare.engines.duckdb import values
from socialrec_jax.data.prepare.engines.duckdb.choices import choose
from socialrec_jax.data.prepare.engines.duckdb.expressions import (
    Expressions,
    expressions_of,
    values_of,
)
from socialrec_jax.data.prepare.engines.duckdb.files import BROKEN, columns_of, relation
from socialrec_jax.data.prepare.engines.duckdb.instants import seconds
from socialrec_jax.data.prepare.engines.duckdb.sql import FILE_ERRORS, INTERNAL, name
from socialrec_jax.data.prepare.engines.duckdb.types import STAGED_TYPES
from socialrec_jax.data.prepare.engines.duckdb.values import Check
from socialrec_jax.data.prepare.engines.duckdb.vectors import extra_columns
from socialrec_jax.data.prepare.engines.engine import Part, UnparsedRecord
from socialrec_jax.data.prepare.readers import Source, readable
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.prepare.schema import TABLES
from socialrec_jax.errors import BadData

# the reasons that come before those of a table's own checks, by number
BLANK_LINE, BROKEN_LINE = 0, 1
LINE_REASONS: tuple[tuple[str | None, str], ...] = (
    (None, "is a blank line"),
    (None, "is not a JSON object"),
)
MAX_VALUE_LENGTH = 200  # characters of a bad value that are kept
ODD_UNIT = "is in another notation (seconds, milliseconds, dates, ...) than most"
ODD_LENGTH = "has another length than most"
_ODD_TIME = Check("timestamp", "coalesce(other, stamp) // 1000000000", "", ODD_UNIT)
_NO_SECONDS = "unit IS NOT NULL AND stamp IS NULL"
BAD = name(INTERNAL + "bad")
# nanoseconds of events without times: a second a row, or any order
_ORDERS = {
    "time": "stamp",
    "file": "rowid::BIGINT * 1000000000",
    "random": "(md5_number_lower(rowid::VARCHAR) % 1000000000)::BIGINT * 1000000000",
}


@dataclasses.dataclass(frozen=True)
class StagedTable:
    """One table in the scratch database; `reasons` explains the numbers in its column `bad`."""

    table: str
    parts: list[Part]
    reasons: list[tuple[str | None, str]]  # (column, reason)
    extras: list[str]  # attributes of users, vectors of items
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    """Field -> the file's column, as the summary shows it."""


def stage(
    con: duckdb.DuckDBPyConnection, table: str, sources: Sequence[Source], rules: Rules
) -> StagedTable:
    """Read the sources into `<table>_rows`; see `Engine.stage`."""
    types = {source: columns_of(con, source) for source in sources}
    choices = {source: choose(con, source, table, types[source], rules) for source in sources}
    known = {source: choice.columns_used for source, choice in choices.items()}
    extras = extra_columns(con, table, types, known, rules)
    staged = StagedTable(table, [], list(LINE_REASONS), extras)

    con.execute(f"CREATE TABLE {table}_rows ({', '.join(_staged_columns(table, extras))})")
    for source, choice in choices.items():
        fields = values_of(source, table, types[source], choice)
        staged.columns.update({field: value.shown for field, value in fields.items()})
        with readable(source.path, *FILE_ERRORS):
            expressions = expressions_of(table, fields, rules)
            staged.parts.append(_insert(con, staged, source, types[source], expressions))
    _reject_minorities(con, staged, rules)
    _show_good_rows(con, table, rules)
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
            columns += ["stamp BIGINT", "unit TINYINT", "other BIGINT"]
        else:
            columns.append(f"{field.name} {STAGED_TYPES.get(field.kind, 'VARCHAR')}")
    if table == "items":
        columns.append("vector FLOAT[]")
    else:
        columns += [f"{name('extra ' + extra)} VARCHAR" for extra in extras]
    return [*columns, "bad UTINYINT", "raw VARCHAR"]


def _show_good_rows(con: duckdb.DuckDBPyConnection, table: str, rules: Rules) -> None:
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
        _settle_times(con, staged, rules)
    if staged.table == "items" and staged.extras:
        _reject_minority(con, staged, "len(vector)", Check("vector", "vector", "", ODD_LENGTH))


def _settle_times(con: duckdb.DuckDBPyConnection, staged: StagedTable, rules: Rules) -> None:
    """What the notations of all rows say together; see `times.decide`."""
    rows = f"{staged.table}_rows"
    counts = con.execute(
        f"""
        SELECT unit, count(*), min(stamp), max(stamp) FROM {rows}
        WHERE bad IS NULL AND (stamp IS NOT NULL OR unit IS NOT NULL) GROUP BY unit
        """
    ).fetchall()
    notations = {unit for unit, *_ in counts}
    # a table whose times are all unix seconds, or all typed, needs nothing else
    if len(notations) < 2 and notations <= {None, 0, 1, 2, 3}:
        return
    outside = [row for row in counts if row[0] in (times.OUTSIDE, times.ZERO, times.OUTSIDE_DATE)]
    smallest = min((low for _, _, low, _ in outside if low is not None), default=None)
    largest = max((high for *_, high in outside if high is not None), default=None)
    by_unit = {unit: count for unit, count, *_ in counts}
    decision = times.decide(staged.table, by_unit, smallest, largest)
    if decision.own_clock:
        _read_as_seconds(con, staged)
    else:
        _apply(con, staged, decision, rules)


def _read_as_seconds(con: duckdb.DuckDBPyConnection, staged: StagedTable) -> None:
    rows = f"{staged.table}_rows"
    con.execute(f"UPDATE {rows} SET stamp = other WHERE unit IS NOT NULL AND bad IS NULL")
    reject(con, staged, dataclasses.replace(_ODD_TIME, condition=_NO_SECONDS))


def _apply(
    con: duckdb.DuckDBPyConnection, staged: StagedTable, decision: times.Decision, rules: Rules
) -> None:
    rows = f"{staged.table}_rows"
    if decision.month_first:
        con.execute(f"UPDATE {rows} SET stamp = other WHERE unit = {times.DAY_OR_MONTH}")
    con.execute(f"UPDATE {rows} SET stamp = NULL, unit = NULL WHERE unit = {times.ZERO}")
    outside = f"unit IN ({times.OUTSIDE}, {times.OUTSIDE_DATE})"
    reason = f"lies outside {rules.first_year} to {rules.last_year}"
    reject(con, staged, dataclasses.replace(_ODD_TIME, condition=outside, reason=reason))
    if decision.notation is not None:
        differs = f"unit < {times.DAY_FIRST} AND unit <> {decision.notation}"
        reject(con, staged, dataclasses.replace(_ODD_TIME, condition=differs))


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


def _insert(
    con: duckdb.DuckDBPyConnection,
    staged: StagedTable,
    source: Source,
    types: Mapping[str, str],
    expressions: Expressions,
) -> Part:
    _add_extras(expressions, staged, types)
    checks, first_reason = expressions.checks, len(staged.reasons)
    staged.reasons.extend((check.column, check.reason) for check in checks)
    raw_values = "".join(
        f" WHEN {number} THEN {_shortened(check.value)}"
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
            CASE {BAD} WHEN {BROKEN_LINE} THEN {_shortened(name(BROKEN))} {raw_values} END
        FROM {_checked_relation(source, types, expressions, first_reason)}
        """
    ).fetchall()[0][0]
    return Part(source, first_row, first_row + inserted, _unparsed(con, source))


def _checked_relation(
    source: Source, types: Mapping[str, str], expressions: Expressions, first_reason: int
) -> str:
    """The file's rows with the number of the first reason that makes them bad."""
    broken = name(BROKEN)
    bad = "".join(
        f" WHEN {check.condition} THEN {number}"
        for number, check in enumerate(expressions.checks, first_reason)
    )
    rows = relation(source, types)
    for columns in expressions.layers:
        rows = f"(SELECT *, {', '.join(columns)} FROM {rows})"
    return f"""(
        SELECT *, CASE WHEN {broken} = '' THEN {BLANK_LINE}
            WHEN {broken} IS NOT NULL THEN {BROKEN_LINE} {bad} END AS {BAD}
        FROM {rows}
    )"""


def _add_extras(expressions: Expressions, staged: StagedTable, types: Mapping[str, str]) -> None:
    """The columns beyond the fields; files of one table may differ in them."""
    present = [extra for extra in staged.extras if extra in types]
    if staged.table == "items":
        expressions.selected.append(values.vector_sql(present))
        for extra in present:
            expressions.checks += values.vector_checks(extra)
    else:
        expressions.selected += [
            f"{name(extra)}::VARCHAR" if extra in present else "NULL" for extra in staged.extras
        ]


def _shortened(value: str) -> str:
    return f"left(({value})::VARCHAR, {MAX_VALUE_LENGTH})"


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
