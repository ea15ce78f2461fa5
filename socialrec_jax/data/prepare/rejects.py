"""Bad rows: counted, traced back to their lines, written down; too many of them stop everything.

A line is the physical line of a text file (header and line breaks inside quotes counted) or the row
of a parquet file, from 1. DuckDB does not report lines of rows that it could parse, so a file that
holds a bad value is walked a second time. The share of bad rows is taken a table at a time; rows
that repeat a known item or user are rejected too but never count towards the stop: catalogues are
often exported once a variant, which is no sign of damage.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb

from socialrec_jax.data.prepare.readers import records, text
from socialrec_jax.data.prepare.staging import BLANK_LINE, Part, Staged, reject
from socialrec_jax.errors import BadData

KEYS = {"items": "item", "users": "user"}  # tables with one row a thing
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Reject:
    """One row that was not used; line 0 where stray quotes leave it open which line that is."""

    table: str
    file: str
    line: int
    column: str | None
    value: str | None
    reason: str


def settle_all(
    con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], max_bad_share: float, path: Path
) -> dict:
    """Write the bad rows of all tables to the parquet file `path`; their number by table, repeats
    apart.

    BadData: the share of bad rows of a table is above max_bad_share.
    """
    counts = {table.table: settle(con, table, max_bad_share) for table in staged}
    repeats = {
        f"repeated_{table.table}": _reject_repeats(con, table)
        for table in staged
        if table.table in KEYS
    }
    _write(con, (reject for table in staged for reject in found(con, table)), path)
    return {**counts, **repeats}


def settle(con: duckdb.DuckDBPyConnection, staged: Staged, max_bad_share: float) -> int:
    """The number of bad rows of a table; BadData where their share is above max_bad_share."""
    query = f"SELECT count(*) FILTER (bad > {BLANK_LINE}), count(*) FROM {staged.table}_rows "
    bad, rows = con.execute(query + f"WHERE bad IS NULL OR bad > {BLANK_LINE}").fetchall()[0]
    unparsed = sum(len(part.unparsed) for part in staged.parts)
    bad, rows = bad + unparsed, rows + unparsed
    if bad > max_bad_share * rows:
        first = next(found(con, staged, only_first=True))
        where = f"{first.file} line {first.line}" + (
            f", column {first.column}" if first.column else ""
        )
        raise BadData(
            f"{staged.table}: {bad} of {rows} rows are unusable, more than max_bad_share = {max_bad_share:g}; "
            f"the first is {where}: {_shown(first.value)} {first.reason}"
        )
    if bad:
        log.warning("%s: %d of %d rows rejected", staged.table, bad, rows)
    return bad


def _reject_repeats(con: duckdb.DuckDBPyConnection, staged: Staged) -> int:
    """Keep the first row of each item or user; how many others there were."""
    key = KEYS[staged.table]
    first = f"SELECT min(rowid) FROM {staged.table}_rows WHERE bad IS NULL GROUP BY {key}"
    return reject(
        con,
        staged,
        f"rowid NOT IN ({first})",
        key,
        "repeats an earlier row, the first is kept",
        key,
    )


def _write(con: duckdb.DuckDBPyConnection, rejects: Iterable[Reject], path: Path) -> None:
    """The parquet file of all rejected rows, empty when there are none."""
    con.execute('CREATE TEMP TABLE rejected ("table" VARCHAR, file VARCHAR, line BIGINT, "column" VARCHAR, '
                "value VARCHAR, reason VARCHAR)")  # fmt: skip
    columns = list(zip(*(dataclasses.astuple(reject) for reject in rejects), strict=True))
    if columns:
        unnested = ", ".join(f"unnest(${number})" for number in range(1, 7))
        con.execute(f"INSERT INTO rejected SELECT {unnested}", [list(column) for column in columns])
    con.execute(f"COPY rejected TO {text(path)} (FORMAT parquet)")


def found(
    con: duckdb.DuckDBPyConnection, staged: Staged, only_first: bool = False
) -> Iterator[Reject]:
    """The bad rows of a table, by file and line."""
    for part in staged.parts:
        bad = con.execute(
            f"SELECT rowid, bad, raw FROM {staged.table}_rows WHERE bad > {BLANK_LINE} "
            f"AND rowid BETWEEN {part.first_row} AND {part.end_row - 1} ORDER BY rowid"
            + (" LIMIT 1" if only_first else "")
        ).fetchall()
        unparsed = part.unparsed[:1] if only_first else part.unparsed
        positions = [row - part.first_row + 1 for row, _, _ in bad]
        by_position, by_record = _lines(part, set(positions), {record for record, *_ in unparsed})
        file, table = str(part.source.path), staged.table
        rejects = [
            Reject(
                table,
                file,
                by_position.get(position, 0),
                staged.reasons[number][0],
                raw,
                staged.reasons[number][1],
            )
            for position, (_, number, raw) in zip(positions, bad, strict=True)
        ]
        rejects += [
            Reject(table, file, by_record.get(record, 0), column, raw, reason)
            for record, column, raw, reason in unparsed
        ]
        yield from sorted(rejects, key=lambda reject: reject.line)


def _lines(
    part: Part, positions: set[int], unparsed: set[int]
) -> tuple[dict[int, int], dict[int, int]]:
    """Lines of staged rows by their position in the file, and of unparsed records by their number,
    both from 1.
    """
    if part.source.kind == "parquet" or not (positions or unparsed):
        return {position: position for position in positions}, {}
    skip_blank, by_position, by_record, position = part.source.kind == "text", {}, {}, 0
    has_header = part.source.kind == "text" and part.source.has_header
    never_read = {record for record, *_ in part.unparsed}
    for record, (line, is_blank) in enumerate(records(part.source), 1):
        if record in unparsed:
            by_record[record] = line
        if record in never_read or (record == 1 and has_header) or (is_blank and skip_blank):
            continue
        position += 1
        if position in positions:
            by_position[position] = line
        if len(by_position) == len(positions) and len(by_record) == len(unparsed):
            break
    return by_position, by_record


def _shown(value: str | None) -> str:
    return "a missing value" if value is None else repr(value[:60])
