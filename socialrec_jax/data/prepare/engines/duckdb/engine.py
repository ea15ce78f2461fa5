"""`Engine` by DuckDB."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare import lists
from socialrec_jax.data.prepare.copies import for_engine
from socialrec_jax.data.prepare.engines.duckdb import files, filtering, tables
from socialrec_jax.data.prepare.engines.duckdb.sql import (
    count_rows,
    fetch_strings,
    name,
    readable_file,
    text,
)
from socialrec_jax.data.prepare.engines.duckdb.staged import StagedTable, reject
from socialrec_jax.data.prepare.engines.duckdb.staging import BLANK_LINE, stage
from socialrec_jax.data.prepare.engines.duckdb.values import Check, id_sql
from socialrec_jax.data.prepare.engines.engine import BadRow, Engine, IdOrder, Part, Reject
from socialrec_jax.data.prepare.expansions import BLANKS, BLANKS_AND_HEADER
from socialrec_jax.data.prepare.filters import Filters
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.world import Events, Friends, Items

MEMORY_LIMIT = "2GB"
# A database in memory that spilled did not keep the order of rows, so large tables lie on disk.
# There each column is compressed, which takes longer than all else (docs/results.md).
IN_MEMORY_BYTES = 400_000_000
_PACKED = (".parquet", ".gz", ".zst", ".zip")  # these count four times
ONE_THREAD_BYTES = 1 << 20  # below this, threads wait for each other longer than they work
# Then planning takes most of the time of a statement, and several are planned at once.
SMALL_STREAMS = 2
# ties in time keep the order of the file
_SESSION = """
    SET preserve_insertion_order=true; SET TimeZone='UTC'; SET enable_progress_bar=false
"""


@contextlib.contextmanager
def open_duckdb(
    folder: Path, files: Iterable[Path] = (), rules: Rules | None = None
) -> Iterator[DuckDBEngine]:
    """A DuckDB that works in `folder`, spills to it, and keeps the order of rows."""
    spill, files = folder / "spill", list(files)
    size = sum(file.stat().st_size for file in files)
    packed = sum(file.stat().st_size for file in files if file.suffix.lower() in _PACKED)
    database = folder / "scratch.duckdb"
    con = _connect(":memory:" if size + 3 * packed < IN_MEMORY_BYTES else database, spill, size)
    pool = ThreadPoolExecutor(SMALL_STREAMS) if size < ONE_THREAD_BYTES else None
    try:
        yield DuckDBEngine(con, rules or Rules(), folder / "copies", pool)
    finally:
        if pool:
            pool.shutdown()
        con.close()
        for file in (database, database.with_suffix(".duckdb.wal")):
            file.unlink(missing_ok=True)
        for scratch in (spill, folder / "copies"):
            shutil.rmtree(scratch, ignore_errors=True)


def _connect(place: Path | str, spill: Path, size: int) -> duckdb.DuckDBPyConnection:
    """A connection for tables of so many bytes, which spill to disk above the limit."""
    settings: dict[str, str | bool | int | float | list[str]] = {}
    settings |= {"temp_directory": str(spill), "memory_limit": MEMORY_LIMIT}
    if size < ONE_THREAD_BYTES:
        settings["threads"] = "1"
    con = duckdb.connect(place, config=settings)
    # the database is thrown away, so nothing is written at the end
    con.execute("PRAGMA disable_checkpoint_on_shutdown")
    return con


class DuckDBEngine(Engine):
    """See `Engine`, which documents each method."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        rules: Rules,
        copies: Path,
        pool: ThreadPoolExecutor | None = None,
    ):
        self.database, self.rules, self.copies, self.pool = database, rules, copies, pool
        self.staged: dict[str, StagedTable] = {}
        self._of_thread = threading.local()
        self._copy_numbers = itertools.count()

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The connection of this thread, for one connection runs one statement at a time."""
        if not hasattr(self._of_thread, "con"):
            self._of_thread.con = self.database.cursor()
            # a cursor is a connection of its own, and the time zone is set for each
            self._of_thread.con.execute(_SESSION)
        return self._of_thread.con

    def concurrently(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        # a long statement in the main thread can be interrupted from the keyboard
        if self.pool is None:
            return [call() for call in calls]
        return list(self.pool.map(lambda call: call(), calls))

    def columns_of(self, source: Source) -> dict[str, str]:
        return files.columns_of(self.con, self._copied(source))

    def _copied(self, source: Source) -> Source:
        if not source.path.exists():
            return source
        return for_engine(source, self.copies, next(self._copy_numbers))

    def read_columns(self, source: Source) -> dict[str, list[str]]:
        source = self._copied(source)
        types = files.columns_of(self.con, source)
        # as in the tables, so that the same ids are found
        values = [f"coalesce({id_sql(name(column), types[column])}, '')" for column in types]
        with readable_file(source.path):
            rows = self.con.execute(
                f"SELECT {', '.join(values)} FROM {files.relation(source, types)}"
            ).fetchall()
        return {column: [row[place] for row in rows] for place, column in enumerate(types)}

    def stage(self, table: str, sources: Sequence[Source]) -> list[Part]:
        unnested = [self._unnested(table, source) for source in sources]
        copied = [self._copied(self._named(table, source)) for source in unnested]
        self.staged[table] = stage(self.con, table, copied, self.rules)
        return self.staged[table].parts

    def _unnested(self, table: str, source: Source) -> Source:
        """The source with a row for each part of a list, where a column holds lists."""
        if source.kind == "json" and not source.expansion:
            # one array has its lines in a copy
            source = self._copied(source)
        if source.kind != "parquet":
            return lists.with_lists(source, table, self.rules)
        if table not in lists.FIELDS:
            return source
        types = files.columns_of(self.con, source)
        nested = [column for column, kind in types.items() if kind.endswith("[]")]
        column = lists.column_of_lists(table, list(types), nested, self.rules)
        if column is None:
            return source
        lists.note(source, column)
        return dataclasses.replace(source, unnested=(column, lists.FIELDS[table]))

    def _named(self, table: str, source: Source) -> Source:
        """The source with the names that the user gives to files without a header."""
        names = self.rules.names.get(table)
        if names is not None and source.expansion is BLANKS_AND_HEADER:
            return dataclasses.replace(source, names=names, expansion=BLANKS)
        # those of public layouts are known
        if names is None or source.names or source.kind != "text":
            return source
        return dataclasses.replace(source, names=names, has_header=False)

    def count_rows(self, table: str) -> tuple[int, int]:
        counts = self.con.execute(
            f"""
            SELECT count(*) FILTER (bad > {BLANK_LINE}), count(*) FROM {table}_rows
            WHERE bad IS NULL OR bad > {BLANK_LINE}
            """
        )
        return counts.fetchall()[0]

    def bad_rows(self, table: str, part: Part, limit: int | None = None) -> list[BadRow]:
        rows = self.con.execute(
            f"""
            SELECT rowid, bad, raw FROM {table}_rows
            WHERE bad > {BLANK_LINE} AND rowid BETWEEN {part.first_row} AND {part.end_row - 1}
            ORDER BY rowid {"" if limit is None else f"LIMIT {limit}"}
            """
        ).fetchall()
        reasons = self.staged[table].reasons
        return [BadRow(row, reasons[bad][0], raw, reasons[bad][1]) for row, bad, raw in rows]

    def reject_repeats(self, table: str, keys: Sequence[str]) -> int:
        key = ", ".join(keys)
        good = f"FROM {table}_rows WHERE bad IS NULL"
        # a row of one column is that column, which may not be NULL here
        distinct = f"count(DISTINCT {key if len(keys) == 1 else f'({key})'})"
        repeated = self.con.execute(f"SELECT count(*) - {distinct} {good}")
        # to mark rows takes several times as long as to count them
        if not repeated.fetchall()[0][0]:
            return 0
        first = f"SELECT min(rowid) {good} GROUP BY {key}"
        reason = "repeats an earlier row, the first is kept"
        repeats = Check(keys[0], keys[0], f"rowid NOT IN ({first})", reason)
        return reject(self.con, self.staged[table], repeats)

    def write_rejects(self, rejects: Iterable[Reject], path: Path) -> None:
        self.con.execute(
            """
            CREATE TEMP TABLE rejected ("table" VARCHAR, file VARCHAR, line BIGINT,
                "column" VARCHAR, value VARCHAR, reason VARCHAR)
            """
        )
        # parameters rather than quoting: raw values may hold anything
        rows = [dataclasses.astuple(rejected) for rejected in rejects]
        if rows:
            # whole columns in one statement: executemany would run one a row
            columns = [list(column) for column in zip(*rows, strict=True)]
            unnested = ", ".join(f"unnest(${number})" for number in range(1, len(columns) + 1))
            self.con.execute(f"INSERT INTO rejected SELECT {unnested}", columns)
        self.con.execute(f"COPY rejected TO {text(path)} (FORMAT parquet)")

    def filter_events(self, filters: Filters) -> dict[str, int]:
        return filtering.filter_events(self.con, filters)

    def fill_times(self) -> tuple[int, int]:
        return tables.fill_times(self.con)

    def number_users(self, order: IdOrder) -> Strings:
        return self._numbered("user_ids", order)

    def number_items(self, order: IdOrder) -> Strings:
        return self._numbered("item_ids", order)

    def _numbered(self, table: str, order: IdOrder) -> Strings:
        if order == "md5":
            tables.number_by_md5(self.con, table)
        else:
            tables.number_by_first_row(self.con, table)
        return fetch_strings(self.con, table, "id", count_rows(self.con, table))

    def event_types(self) -> list[str]:
        return tables.number_event_types(self.con, self.rules.types)

    def events(self, num_users: int) -> Events:
        return tables.events(self.con, num_users)

    def friends(self, num_users: int, direction: str) -> tuple[Friends, dict[str, int]]:
        return tables.friends(self.con, num_users, direction)

    def items(self, ids: Strings) -> tuple[Items, np.ndarray]:
        return tables.items(self.con, ids)

    def columns_used(self, table: str) -> dict[str, str]:
        return self.staged[table].columns

    def columns_unused(self, table: str) -> list[str]:
        return self.staged[table].unused

    def described(self, table: str) -> np.ndarray:
        return tables.described(self.con, table)

    def attributes(self) -> dict[str, Strings]:
        return tables.attributes(self.con, self.staged["users"].extras)
