"""One staged table: its good rows, how rows are marked as bad, and what its times mean."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

from socialrec_jax.data.prepare import times
from socialrec_jax.data.prepare.engines.duckdb.instants import seconds
from socialrec_jax.data.prepare.engines.duckdb.sql import name
from socialrec_jax.data.prepare.engines.duckdb.types import STAGED_TYPES
from socialrec_jax.data.prepare.engines.engine import Part
from socialrec_jax.data.prepare.engines.statements.checks import Check
from socialrec_jax.data.prepare.engines.statements.database import Database
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.prepare.schema import TABLES

# `rejected.parquet` is read by people
MAX_VALUE_LENGTH = 200  # characters of a bad value that are kept
ODD_UNIT = "is in another notation (seconds, milliseconds, dates, ...) than most"
_ODD_TIME = Check("timestamp", "coalesce(other, stamp) // 1000000000", "", ODD_UNIT)
_OUTSIDE = (times.OUTSIDE, times.ZERO, times.OUTSIDE_DATE)
_OTHER_COLUMN = "%s: %s is column %s in %s, and %s in the files before it"
log = logging.getLogger(__name__)
_NO_SECONDS = "unit IS NOT NULL AND stamp IS NULL"
_ODD_LENGTH = Check("vector", "vector", "", "has another length than most")
# the number of the reason "is a blank line", which comes first: see `duckdb/staging.py`
BLANK_LINE = 0
# nanoseconds of events without times: a second a row, or any order
_ORDERS = {
    "time": "stamp",
    "file": "rowid::BIGINT * 1000000000",
    "random": "(md5_number_lower(rowid::VARCHAR) % 1000000000)::BIGINT * 1000000000",
}


@dataclasses.dataclass(frozen=True)
class StagedTable:
    """One table in the database; `reasons` explains the numbers in its column `bad`."""

    table: str
    parts: list[Part]
    reasons: list[tuple[str | None, str]]  # (column, reason)
    extras: list[str]  # attributes of users, vectors of items
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    """Field -> the file's column, as the summary shows it."""
    unused: list[str] = dataclasses.field(default_factory=list)  # columns of the files


def add_columns(staged: StagedTable, source: Source, columns: Mapping[str, str]) -> None:
    """Note which column each field of a file is read from; part files may differ in it."""
    for field, column in columns.items():
        known = staged.columns.setdefault(field, column)
        if column not in known.split(", "):
            staged.columns[field] = f"{known}, {column}"
            log.warning(_OTHER_COLUMN, *(staged.table, field, column, source.path.name, known))


def staged_columns(table: str, extras: Sequence[str]) -> dict[str, str]:
    """Column of `<table>_rows` -> its type in DuckDB."""
    columns = {}
    for field in TABLES[table]:
        # a time is settled when all rows are known: until then, two ways to read it
        if field.kind == "time":
            columns |= {"stamp": "BIGINT", "unit": "TINYINT", "other": "BIGINT"}
        else:
            columns[field.name] = STAGED_TYPES.get(field.kind, "VARCHAR")
    if table == "items":
        columns["vector"] = "FLOAT[]"
    else:
        columns |= {name("extra " + extra): "VARCHAR" for extra in extras}
    return {**columns, "bad": "USMALLINT", "raw": "VARCHAR"}


def settle(db: Database, staged: StagedTable, rules: Rules) -> None:
    """Reject what only all rows together show to be odd, and show the good rows as a view."""
    # times in another notation, and vectors of another length, than most of the table's rows
    if _has_time(staged.table) and staged.parts:
        settle_times(db, staged, rules)
    if staged.table == "items" and staged.extras:
        _reject_odd_lengths(db, staged)
    # a view, so that rejecting more rows later needs no copy
    db.create_view(staged.table, good_rows(staged, rules))


def good_rows(staged: StagedTable, rules: Rules) -> str:
    """SQL of the rows that are not bad, with their place as `row`."""
    columns = list(staged_columns(staged.table, staged.extras))
    if _has_time(staged.table):
        stamp = "stamp" if staged.table == "social" else _ORDERS[rules.order]
        columns = [column for column in columns if column not in ("stamp", "unit", "other")]
        columns += [f"{stamp} AS stamp", f"{seconds(stamp)} AS time"]
    return f"SELECT rowid AS row, {', '.join(columns)} FROM {staged.table}_rows WHERE bad IS NULL"


def _has_time(table: str) -> bool:
    return any(field.kind == "time" for field in TABLES[table])


def _reject_odd_lengths(db: Database, staged: StagedTable) -> None:
    length = "array_length(vector)"
    counts = db.rows(
        f"""
        SELECT {length}, count(*) FROM items_rows
        WHERE bad IS NULL AND vector IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1
        """
    )
    # the length of most vectors is right; ties go to the shorter one
    if len(counts) > 1:
        differs = f"{length} <> {counts[0][0]}"
        reject(db, staged, dataclasses.replace(_ODD_LENGTH, condition=differs))


def reject(db: Database, staged: StagedTable, check: Check) -> int:
    """Mark the good rows that meet a check's condition as bad; how many they were."""
    # a number a row instead of the text: most rows have none
    staged.reasons.append((check.column, check.reason))
    marks = {"bad": str(len(staged.reasons) - 1), "raw": shortened(check.value)}
    return db.update(f"{staged.table}_rows", marks, f"bad IS NULL AND ({check.condition})")


def shortened(value: str) -> str:
    return f"left(({value})::VARCHAR, {MAX_VALUE_LENGTH})"


def settle_times(db: Database, staged: StagedTable, rules: Rules) -> None:
    """What the notations of all rows say together; see `times.decide`."""
    counts = db.rows(
        f"""
        SELECT unit, count(*), min(stamp), max(stamp) FROM {staged.table}_rows
        WHERE bad IS NULL AND (stamp IS NOT NULL OR unit IS NOT NULL) GROUP BY unit
        """
    )
    by_unit = {unit: count for unit, count, *_ in counts}
    # a table whose times are all unix seconds, or all typed, needs nothing else
    if len(by_unit) < 2 and by_unit.keys() <= {None, 0, 1, 2, 3}:
        return
    stamps = [stamp for unit, _, *pair in counts if unit in _OUTSIDE for stamp in pair]
    outside = [stamp for stamp in stamps if stamp is not None]
    ends = min(outside, default=None), max(outside, default=None)
    decision = times.decide(staged.table, by_unit, *ends, rules.own_clock)
    if decision.own_clock:
        _read_as_seconds(db, staged)
    else:
        _apply(db, staged, decision, rules)


def _read_as_seconds(db: Database, staged: StagedTable) -> None:
    rows = f"{staged.table}_rows"
    # Numbers and typed times outside of the years are seconds already.
    kept = f"{times.OUTSIDE}, {times.OUTSIDE_DATE}, {times.ZERO}"
    others = f"unit NOT IN ({kept})"
    db.update(rows, {"stamp": "other"}, f"{others} AND bad IS NULL")
    reject(db, staged, dataclasses.replace(_ODD_TIME, condition=_NO_SECONDS))


def _apply(db: Database, staged: StagedTable, decision: times.Decision, rules: Rules) -> None:
    rows = f"{staged.table}_rows"
    # `other` holds the second way to read 01/02/2020
    if decision.month_first:
        db.update(rows, {"stamp": "other"}, f"unit = {times.DAY_OR_MONTH}")
    # 0 and -1 among dates stand for an unknown time, which the events around it fill in
    unknown = f"unit IN ({times.ZERO}, {times.UNKNOWN_DATE})"
    db.update(rows, {"stamp": "NULL", "unit": "NULL"}, unknown)
    # 20201301 has the size of a date
    no_date = f"unit = {times.COMPACT} AND stamp IS NULL"
    reject(db, staged, dataclasses.replace(_ODD_TIME, condition=no_date, reason="is no date"))
    outside = f"unit IN ({times.OUTSIDE}, {times.OUTSIDE_DATE})"
    reason = f"lies outside {rules.first_year} to {rules.last_year}"
    reject(db, staged, dataclasses.replace(_ODD_TIME, condition=outside, reason=reason))
    # read by its size, a number in a stray unit would move its event by centuries
    if decision.notation is not None:
        differs = f"unit < {times.DAY_FIRST} AND unit <> {decision.notation}"
        reject(db, staged, dataclasses.replace(_ODD_TIME, condition=differs))
