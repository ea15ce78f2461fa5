"""One table in the scratch database, how its rows are marked as bad, and what its times mean."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

import duckdb

from socialrec_jax.data.prepare import times
from socialrec_jax.data.prepare.engines.duckdb.values import Check
from socialrec_jax.data.prepare.engines.engine import Part
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules

# `rejected.parquet` is read by people
MAX_VALUE_LENGTH = 200  # characters of a bad value that are kept
ODD_UNIT = "is in another notation (seconds, milliseconds, dates, ...) than most"
_ODD_TIME = Check("timestamp", "coalesce(other, stamp) // 1000000000", "", ODD_UNIT)
_OUTSIDE = (times.OUTSIDE, times.ZERO, times.OUTSIDE_DATE)
_OTHER_COLUMN = "%s: %s is column %s in %s, and %s in the files before it"
log = logging.getLogger(__name__)
_NO_SECONDS = "unit IS NOT NULL AND stamp IS NULL"


@dataclasses.dataclass(frozen=True)
class StagedTable:
    """One table in the scratch database; `reasons` explains the numbers in its column `bad`."""

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


def reject(con: duckdb.DuckDBPyConnection, staged: StagedTable, check: Check) -> int:
    """Mark the good rows that meet a check's condition as bad; how many they were."""
    # a number a row instead of the text: most rows have none
    staged.reasons.append((check.column, check.reason))
    marked = con.execute(
        f"""
        UPDATE {staged.table}_rows
        SET bad = {len(staged.reasons) - 1}, raw = {shortened(check.value)}
        WHERE bad IS NULL AND ({check.condition})
        """
    ).fetchone()
    return marked[0] if marked else 0


def shortened(value: str) -> str:
    return f"left(({value})::VARCHAR, {MAX_VALUE_LENGTH})"


def settle_times(con: duckdb.DuckDBPyConnection, staged: StagedTable, rules: Rules) -> None:
    """What the notations of all rows say together; see `times.decide`."""
    counts = con.execute(
        f"""
        SELECT unit, count(*), min(stamp), max(stamp) FROM {staged.table}_rows
        WHERE bad IS NULL AND (stamp IS NOT NULL OR unit IS NOT NULL) GROUP BY unit
        """
    ).fetchall()
    by_unit = {unit: count for unit, count, *_ in counts}
    # a table whose times are all unix seconds, or all typed, needs nothing else
    if len(by_unit) < 2 and by_unit.keys() <= {None, 0, 1, 2, 3}:
        return
    stamps = [stamp for unit, _, *pair in counts if unit in _OUTSIDE for stamp in pair]
    outside = [stamp for stamp in stamps if stamp is not None]
    ends = min(outside, default=None), max(outside, default=None)
    decision = times.decide(staged.table, by_unit, *ends, rules.own_clock)
    if decision.own_clock:
        _read_as_seconds(con, staged)
    else:
        _apply(con, staged, decision, rules)


def _read_as_seconds(con: duckdb.DuckDBPyConnection, staged: StagedTable) -> None:
    rows = f"{staged.table}_rows"
    # Numbers and typed times outside of the years are seconds already.
    kept = f"{times.OUTSIDE}, {times.OUTSIDE_DATE}, {times.ZERO}"
    others = f"unit NOT IN ({kept})"
    con.execute(f"UPDATE {rows} SET stamp = other WHERE {others} AND bad IS NULL")
    reject(con, staged, dataclasses.replace(_ODD_TIME, condition=_NO_SECONDS))


def _apply(
    con: duckdb.DuckDBPyConnection, staged: StagedTable, decision: times.Decision, rules: Rules
) -> None:
    rows = f"{staged.table}_rows"
    # `other` holds the second way to read 01/02/2020
    if decision.month_first:
        con.execute(f"UPDATE {rows} SET stamp = other WHERE unit = {times.DAY_OR_MONTH}")
    # 0 and -1 among dates stand for an unknown time, which the events around it fill in
    con.execute(f"UPDATE {rows} SET stamp = NULL, unit = NULL WHERE unit = {times.ZERO}")
    # 20201301 has the size of a date
    no_date = f"unit = {times.COMPACT} AND stamp IS NULL"
    reject(con, staged, dataclasses.replace(_ODD_TIME, condition=no_date, reason="is no date"))
    outside = f"unit IN ({times.OUTSIDE}, {times.OUTSIDE_DATE})"
    reason = f"lies outside {rules.first_year} to {rules.last_year}"
    reject(con, staged, dataclasses.replace(_ODD_TIME, condition=outside, reason=reason))
    # read by its size, a number in a stray unit would move its event by centuries
    if decision.notation is not None:
        differs = f"unit < {times.DAY_FIRST} AND unit <> {decision.notation}"
        reject(con, staged, dataclasses.replace(_ODD_TIME, condition=differs))
