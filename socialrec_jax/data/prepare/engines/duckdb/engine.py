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

from socialrec_jax.data.prepare import lists
from socialrec_jax.data.prepare.copies import for_engine
from socialrec_jax.data.prepare.engines.duckdb import files
from socialrec_jax.data.prepare.engines.duckdb.database import DuckDBDatabase
from socialrec_jax.data.prepare.engines.duckdb.rejected import write_rejects
from socialrec_jax.data.prepare.engines.duckdb.sql import name, readable_file
from socialrec_jax.data.prepare.engines.duckdb.staging import FileQuery, queries_of, run_query
from socialrec_jax.data.prepare.engines.duckdb.values import id_sql
from socialrec_jax.data.prepare.engines.engine import Part, Reject
from socialrec_jax.data.prepare.engines.statements.engine import DatabaseEngine
from socialrec_jax.data.prepare.engines.statements.staged import StagedTable, staged_columns
from socialrec_jax.data.prepare.expansions import BLANKS, BLANKS_AND_HEADER, Unnested
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules

MEMORY_LIMIT = "2GB"
# A database in memory that spilled did not keep the order of rows, so large tables lie on disk.
# There each column is compressed, which takes longer than all else (docs/results/preparation.md).
IN_MEMORY_BYTES = 400_000_000
_PACKED = (".parquet", ".gz", ".zst", ".zip")  # these count four times
ONE_THREAD_BYTES = 1 << 20  # below this, threads wait for each other longer than they work
# Then planning takes most of the time of a statement, and several are planned at once.
SMALL_STREAMS = 2
# ties in time keep the order of the file
SESSION = """
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


class DuckDBEngine(DatabaseEngine):
    """See `Engine`, which documents each method."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        rules: Rules,
        copies: Path,
        pool: ThreadPoolExecutor | None = None,
    ):
        super().__init__(rules)
        self.database, self.copies, self.pool = database, copies, pool
        self._of_thread = threading.local()
        self._copy_numbers = itertools.count()

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The connection of this thread, for one connection runs one statement at a time."""
        if not hasattr(self._of_thread, "con"):
            self._of_thread.con = self.database.cursor()
            # a cursor is a connection of its own, and the time zone is set for each
            self._of_thread.con.execute(SESSION)
        return self._of_thread.con

    @property
    def db(self) -> DuckDBDatabase:
        return DuckDBDatabase(self.con)

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

    def queries_of(
        self, table: str, sources: Sequence[Source]
    ) -> tuple[StagedTable, list[FileQuery]]:
        """A table without rows, and what is read of each of its files; see `stage`."""
        unnested = [self._unnested(table, source) for source in sources]
        copied = [self._copied(self._named(table, source)) for source in unnested]
        return queries_of(self.con, table, copied, self.rules)

    def stage(self, table: str, sources: Sequence[Source]) -> list[Part]:
        staged, queries = self.queries_of(table, sources)
        columns = staged_columns(table, staged.extras)
        declared = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self.con.execute(f"CREATE OR REPLACE TABLE {table}_rows ({declared})")
        first_row = 0
        for query in queries:
            insert = f"INSERT INTO {table}_rows {query.sql}"
            rows, unparsed = run_query(self.con, query.source, insert)
            staged.parts.append(Part(query.source, first_row, first_row + rows, unparsed))
            first_row += rows
        return self._settle(staged)

    def _unnested(self, table: str, source: Source) -> Source:
        """The source with a row for each part of a list, where a column holds lists."""
        if source.kind == "json" and not source.expansion:
            # one array has its lines in a copy
            source = self._copied(source)
        if source.kind != "parquet":
            return lists.with_lists(source, table, self.rules)
        return self._unnested_parquet(table, source) if table in lists.FIELDS else source

    def _unnested_parquet(self, table: str, source: Source) -> Source:
        types = files.columns_of(self.con, source)
        nested = [column for column, kind in types.items() if kind.endswith("[]")]
        column = lists.column_of_lists(table, list(types), nested, self.rules)
        if column is None:
            return source
        lists.note(source, column)
        unnested = Unnested(column, lists.FIELDS[table])
        if types[column].startswith("STRUCT"):
            unnested = self._members(source, column, list(types))
        return dataclasses.replace(source, unnested=unnested)

    def _members(self, source: Source, column: str, columns: Sequence[str]) -> Unnested:
        """A list of objects, whose members go before the file's own columns."""
        members = {member.lower() for member in files.members_of(self.con, source, column)}
        own = [other for other in columns if other != column and other not in source.partitions]
        return Unnested(column, None, tuple(other for other in own if other.lower() in members))

    def _named(self, table: str, source: Source) -> Source:
        """The source with the names that the user gives to files without a header."""
        names = self.rules.names.get(table)
        if names is not None and source.expansion is BLANKS_AND_HEADER:
            return dataclasses.replace(source, names=names, expansion=BLANKS)
        # those of public layouts are known
        if names is None or source.names or source.kind != "text":
            return source
        return dataclasses.replace(source, names=names, has_header=False)

    def write_rejects(self, rejects: Iterable[Reject], path: Path) -> None:
        write_rejects(self.con, rejects, path)
