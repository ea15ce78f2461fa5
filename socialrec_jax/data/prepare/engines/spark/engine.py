"""`Engine` by Spark: files are read by DuckDB in its tasks, and it sorts, joins and counts."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from socialrec_jax.data.prepare.engines.duckdb.engine import DuckDBEngine, open_duckdb
from socialrec_jax.data.prepare.engines.duckdb.sql import text
from socialrec_jax.data.prepare.engines.duckdb.staging import FileQuery
from socialrec_jax.data.prepare.engines.engine import Part, Reject
from socialrec_jax.data.prepare.engines.spark.database import SparkDatabase
from socialrec_jax.data.prepare.engines.spark.parts import Parts
from socialrec_jax.data.prepare.engines.spark.reading import FileTask, StagedFile, write_part
from socialrec_jax.data.prepare.engines.spark.session import open_session
from socialrec_jax.data.prepare.engines.statements.engine import DatabaseEngine
from socialrec_jax.data.prepare.engines.statements.staged import staged_columns
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules

STREAMS = 4  # statements at a time, each of which has tasks on all machines


@contextlib.contextmanager
def open_spark(
    folder: Path, files: Iterable[Path], rules: Rules | None, master: str
) -> Iterator[SparkEngine]:
    """A Spark whose tables lie in `folder`, which all its machines must reach.

    Errors as in `open_session`.
    """
    tables = folder / "spark"
    try:
        with (
            open_duckdb(folder, files, rules) as reader,
            open_session(master, tables / "spill") as session,
        ):
            yield SparkEngine(session, reader, tables)
    finally:
        shutil.rmtree(tables, ignore_errors=True)


class SparkEngine(DatabaseEngine):
    """See `Engine`, which documents each method. reader: looks at samples of the files."""

    def __init__(self, session: Any, reader: DuckDBEngine, folder: Path):
        super().__init__(reader.rules)
        self.session, self.reader, self.folder = session, reader, folder
        self.database = SparkDatabase(session, folder)

    @property
    def db(self) -> SparkDatabase:
        return self.database

    def concurrently(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        with ThreadPoolExecutor(STREAMS) as pool:
            return list(pool.map(lambda call: call(), calls))

    def columns_of(self, source: Source) -> Mapping[str, str]:
        return self.reader.columns_of(source)

    def read_columns(self, source: Source) -> dict[str, list[str]]:
        return self.reader.read_columns(source)

    def write_rejects(self, rejects: Iterable[Reject], path: Path) -> None:
        self.reader.write_rejects(rejects, path)

    def stage(self, table: str, sources: Sequence[Source]) -> list[Part]:
        staged, queries = self.reader.queries_of(table, sources)
        folder = self.folder / f"read_{table}"
        folder.mkdir(parents=True, exist_ok=True)
        files = self._read(queries, folder)
        staged.parts.extend(_parts_of(queries, files))
        # a table needs its columns, even where it has no file
        if not files:
            files = [self._empty(staged_columns(table, staged.extras), folder)]
        paths = [folder.resolve() / file.name for file in files]
        self.database.register(f"{table}_rows", Parts(paths, [file.rows for file in files]))
        return self._settle(staged)

    def _read(self, queries: Sequence[FileQuery], folder: Path) -> list[StagedFile]:
        """Read the files, each in a task. BadData: one cannot be read."""
        base, out = str(Path.cwd()), str(folder.resolve())
        tasks = [FileTask(query, base, out) for query in queries]
        if not tasks:
            return []
        # as many tasks as files; what they return is in the order of the files
        spread = self.session.sparkContext.parallelize(tasks, len(tasks))
        files = spread.map(write_part).collect()
        for file in files:
            if file.error is not None:
                raise file.error
        return files

    def _empty(self, columns: Mapping[str, str], folder: Path) -> StagedFile:
        """A part without rows, which says what the columns are."""
        name = "empty.parquet"
        nothing = ", ".join(f"NULL::{kind} AS {column}" for column, kind in columns.items())
        query = f"SELECT {nothing} WHERE false"
        self.reader.con.execute(f"COPY ({query}) TO {text(folder / name)} (FORMAT parquet)")
        return StagedFile(name)


def _parts_of(queries: Sequence[FileQuery], files: Sequence[StagedFile]) -> Iterator[Part]:
    """Where the rows of each file lie in the table."""
    # no task knows how many rows come before its own
    first_row = 0
    for query, file in zip(queries, files, strict=True):
        yield Part(query.source, first_row, first_row + file.rows, file.unparsed)
        first_row += file.rows
