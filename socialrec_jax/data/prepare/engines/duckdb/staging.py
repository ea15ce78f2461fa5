"""Raw files to checked rows: what is read of each file of a table, as one query a file.

Good and bad rows alike lie in `<table>_rows`. A staged row keeps its place (`rowid` = position over
all files), its clean values, and for a bad row the number of the reason and the raw value. The view
`<table>` shows the good ones.

Order is meaning here: ties in time keep the file's order. So rows are written file by file, and
the connection keeps the order of rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import duckdb

from socialrec_jax.data.prepare.engines.duckdb import values
from socialrec_jax.data.prepare.engines.duckdb.choices import choose
from socialrec_jax.data.prepare.engines.duckdb.event_files import take_types_of_file_names
from socialrec_jax.data.prepare.engines.duckdb.expressions import (
    Expressions,
    expressions_of,
    values_of,
)
from socialrec_jax.data.prepare.engines.duckdb.files import BROKEN, columns_of, relation
from socialrec_jax.data.prepare.engines.duckdb.sql import INTERNAL, name, readable_file
from socialrec_jax.data.prepare.engines.duckdb.unparsed import unparsed_records
from socialrec_jax.data.prepare.engines.duckdb.vectors import extra_columns
from socialrec_jax.data.prepare.engines.engine import UnparsedRecord
from socialrec_jax.data.prepare.engines.statements.checks import Check
from socialrec_jax.data.prepare.engines.statements.staged import (
    BLANK_LINE,
    StagedTable,
    add_columns,
    shortened,
    staged_columns,
)
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules

# the reasons that come before those of a table's own checks, by number
BROKEN_LINE = BLANK_LINE + 1
LINE_REASONS: tuple[tuple[str | None, str], ...] = (
    (None, "is a blank line"),
    (None, "is not a JSON object with each key once"),
)
BAD = name(INTERNAL + "bad")


@dataclasses.dataclass(frozen=True)
class FileQuery:
    """The checked rows of one file as SQL, in the order of the file."""

    source: Source
    sql: str


def queries_of(
    con: duckdb.DuckDBPyConnection, table: str, sources: Sequence[Source], rules: Rules
) -> tuple[StagedTable, list[FileQuery]]:
    """A table without rows, and the query of each of its files; see `Engine.stage`."""
    types = {source: columns_of(con, source) for source in sources}
    choices = {source: choose(con, source, table, types[source], rules) for source in sources}
    if table == "events":
        take_types_of_file_names(choices)
    # all files are known before the first is read: they share the columns beyond the fields
    known = {source: choice.columns_used for source, choice in choices.items()}
    extras = extra_columns(con, table, types, known, rules)
    unused = _unused(types, known, extras)
    staged = StagedTable(table, [], list(LINE_REASONS), extras, unused=unused)

    queries = []
    for source, choice in choices.items():
        fields = values_of(source, table, types[source], choice)
        add_columns(staged, source, {field: value.shown for field, value in fields.items()})
        with readable_file(source.path):
            expressions = expressions_of(table, fields, rules)
            sql = _query(staged, source, types[source], expressions)
        queries.append(FileQuery(source, sql))
    return staged, queries


def run_query(
    con: duckdb.DuckDBPyConnection, source: Source, statement: str
) -> tuple[int, list[UnparsedRecord]]:
    """Run a statement with the query of a file: how many rows it wrote, and what became no row.

    BadData: the file cannot be read.
    """
    # what DuckDB rejected of the file before is not part of this one
    if source.kind != "parquet":
        con.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    with readable_file(source.path):
        written = con.execute(statement).fetchall()[0][0]
        return written, unparsed_records(con, source)


def _unused(
    types: Mapping[Source, Mapping[str, str]],
    known: Mapping[Source, set[str]],
    extras: Sequence[str],
) -> list[str]:
    """Columns of the files that nothing is made of."""
    used = {column.lower() for column in extras}
    columns = [c for source, of_file in types.items() for c in of_file if c not in known[source]]
    return [column for column in dict.fromkeys(columns) if column.lower() not in used]


def _query(
    staged: StagedTable, source: Source, types: Mapping[str, str], expressions: Expressions
) -> str:
    _add_extras(expressions, staged, types)
    checks = expressions.checks
    first_reason = _number_reasons(staged, checks)
    # the raw value is kept for bad rows alone, where a person looks at it
    raw_values = "".join(
        f" WHEN {number} THEN {shortened(check.value)}"
        for number, check in enumerate(checks, first_reason)
    )
    raw = f"CASE {BAD} WHEN {BROKEN_LINE} THEN {shortened(name(BROKEN))} {raw_values} END"
    columns = staged_columns(staged.table, staged.extras)
    selected = ", ".join(
        f"({expression})::{kind} AS {column}"
        for expression, (column, kind) in zip(
            [*expressions.selected, BAD, raw], columns.items(), strict=True
        )
    )
    return f"SELECT {selected} FROM {_checked_relation(source, types, expressions, first_reason)}"


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
