"""Bad rows: counted, traced back to their lines, written to a file; too many of them stop.

A line is the physical line of a text file (header and line breaks inside quotes counted) or the row
of a parquet file, from 1. Engines do not know the lines of rows that they could parse, so a file
that holds a bad value is walked a second time.

The share of bad rows is taken table by table. Rows that repeat an item or user are rejected too but
never count towards the stop: catalogues are often exported once a variant, which is no damage.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.engines.engine import BadRow, Engine, Part, Reject, UnparsedRecord
from socialrec_jax.data.prepare.readers import records
from socialrec_jax.data.prepare.same_parts import refuse_same_parts
from socialrec_jax.data.prepare.stray_quotes import refuse_stray_quotes
from socialrec_jax.errors import BadData

KEYS = {"items": ("item",), "users": ("user",)}  # tables with one row for each item or user
EVENT_KEYS = ("user", "item", "stamp", "event_type")
log = logging.getLogger(__name__)


def reject_all(
    engine: Engine, staged: Mapping[str, Sequence[Part]], config: DataConfig, path: Path
) -> dict[str, int]:
    """Write the bad rows of all tables to the parquet file `path`; count them by table.

    BadData: the share of bad rows of a table is above config.max_bad_share.
    """
    counts = {
        table: check_share(engine, table, parts, config.max_bad_share)
        for table, parts in staged.items()
    }
    # after the shares are checked: repeats never count towards them
    keys = {**KEYS, "events": EVENT_KEYS} if config.deduplicate else KEYS
    for table, columns in keys.items():
        counts[f"repeated_{table}"] = repeated = engine.reject_repeats(table, columns)
        if repeated:
            log.warning("%s: %d rows repeat an earlier one, which is kept", table, repeated)

    # a generator: a file is walked for its lines only while they are written
    rejects = (
        reject
        for table, parts in staged.items()
        if counts[table] or counts.get(f"repeated_{table}")
        for reject in find_rejects(engine, table, parts)
    )
    engine.write_rejects(rejects, path)
    return counts


def check_parts(table: str, parts: Sequence[Part]) -> None:
    """BadData: two files of events are the same, or quotes join rows of a file."""
    if table == "events":
        refuse_same_parts(parts)
    refuse_stray_quotes(parts)


def check_share(engine: Engine, table: str, parts: Sequence[Part], max_bad_share: float) -> int:
    """The number of bad rows of a table; BadData where their share is above max_bad_share."""
    # what could not be taken apart is in no table, but bad all the same
    bad, rows = engine.count_rows(table)
    unparsed = sum(len(part.unparsed) for part in parts)
    bad, rows = bad + unparsed, rows + unparsed
    # multiplied rather than divided, for a table may have no rows
    if bad > max_bad_share * rows:
        first = next(find_rejects(engine, table, parts, limit=1))
        raise BadData(
            f"{table}: {bad} of {rows} rows are unusable, more than max_bad_share = "
            f"{max_bad_share:g}; the first is {described(first)}. "
            f"{_advice(first.reason, bad / rows)}"
        )
    if bad:
        log.warning("%s: %d of %d rows rejected", table, bad, rows)
    return bad


def _rounded_up(share: float) -> float:
    # rounded up, so that the advised share lets these rows pass
    return min(1.0, math.ceil(share * 100) / 100)


def _advice(reason: str, share: float) -> str:
    # An append and serving keep the share of the run.
    text = f"Mend them, or let them pass in a new run: --data.max-bad-share {_rounded_up(share):g}"
    if "unicode" in reason.lower() or "utf" in reason.lower():
        text += "; if the text is not UTF-8, say which with --data.encoding, such as latin-1"
    return text


def described(reject: Reject) -> str:
    """A bad row in one line: where it is, its value, and what is wrong with it."""
    place = f"{reject.file} line {reject.line}"
    if reject.column:
        place += f", column {reject.column}"
    value = "a missing value" if reject.value is None else repr(reject.value[:60])
    return f"{place}: {value} {reject.reason}"


def find_rejects(
    engine: Engine, table: str, parts: Iterable[Part], limit: int | None = None
) -> Iterator[Reject]:
    """The bad rows of a table by file and line; limit: at most so many of each kind a file."""
    for part in parts:
        bad = engine.bad_rows(table, part, limit)
        unparsed = part.unparsed[:limit]
        line_of_row, line_of_record = _lines(part, bad, unparsed)
        rejects = [_reject(table, part, line_of_row.get(row.row, 0), row) for row in bad]
        rejects += [
            _reject(table, part, line_of_record.get(record.record, 0), record)
            for record in unparsed
        ]
        yield from sorted(rejects, key=lambda reject: reject.line)


def _reject(table: str, part: Part, line: int, row: BadRow | UnparsedRecord) -> Reject:
    return Reject(table, str(part.source.path), line, row.column, row.value, row.reason)


@dataclasses.dataclass
class _Record:
    """A record of a text file: its number from 1, its row in the table, and its first line."""

    number: int
    row: int | None  # None: it became no row
    line: int


def _lines(
    part: Part, bad: Sequence[BadRow], unparsed: Sequence[UnparsedRecord]
) -> tuple[dict[int, int], dict[int, int]]:
    """Lines, from 1, of rows of the table, and of unparsed records by their number."""
    if part.source.kind == "parquet":
        # a row of lists became several, so its place is not known
        if part.source.unnested:
            return {}, {}
        return {row.row: row.row - part.first_row + 1 for row in bad}, {}

    bad_rows = {row.row for row in bad}
    bad_records = {record.record for record in unparsed}
    line_of_row: dict[int, int] = {}
    line_of_record: dict[int, int] = {}
    nothing_bad = not bad_rows and not bad_records
    walk = iter(()) if nothing_bad else _walk(part)
    for record in walk:
        if record.number in bad_records:
            line_of_record[record.number] = record.line
        if record.row in bad_rows:
            line_of_row[record.row] = record.line
        # the rest of a large file need not be read
        if len(line_of_row) + len(line_of_record) == len(bad_rows) + len(bad_records):
            break
    return line_of_row, line_of_record


def _walk(part: Part) -> Iterator[_Record]:
    """The records of a text file with the rows that they became."""
    is_text = part.source.kind == "text"
    has_header = is_text and part.source.has_header
    unparsed = {record.record for record in part.unparsed}
    row = part.first_row
    for number, (line, is_blank) in enumerate(records(part.source), 1):
        is_header = has_header and number == 1
        # DuckDB passes over blank lines of text, and makes a row of a blank JSON line
        is_skipped = is_blank and is_text
        if number in unparsed or is_header or is_skipped:
            yield _Record(number, None, line)
        else:
            yield _Record(number, row, line)
            row += 1
