"""A task of Spark: one file of a table, read and checked by DuckDB, becomes a part in parquet.

So rows are checked by the same code whichever engine sorts them, and every kind of file is read.
"""

from __future__ import annotations

import dataclasses
import tempfile
import uuid

import duckdb

from socialrec_jax.data.prepare.engines.duckdb.engine import SESSION
from socialrec_jax.data.prepare.engines.duckdb.sql import text
from socialrec_jax.data.prepare.engines.duckdb.staging import FileQuery, run_query
from socialrec_jax.data.prepare.engines.engine import UnparsedRecord
from socialrec_jax.errors import UserError

MEMORY_LIMIT = "1GB"  # of a task: rows are written as they are read


@dataclasses.dataclass(frozen=True)
class FileTask:
    """What is read, and where to. Paths of the query count from the folder `base`."""

    query: FileQuery
    base: str
    out: str


@dataclasses.dataclass(frozen=True)
class StagedFile:
    """A part that was written, or the error that a person must mend."""

    name: str = ""
    rows: int = 0
    unparsed: list[UnparsedRecord] = dataclasses.field(default_factory=list)
    error: UserError | None = None


def write_part(task: FileTask) -> StagedFile:
    """Run the task. Errors of data are returned, for Spark would try the task again."""
    # a task may run twice, and the part of the other one must not be touched
    name = f"{uuid.uuid4()}.parquet"
    written = text(f"{task.out}/{name}")
    with tempfile.TemporaryDirectory() as spill, duckdb.connect() as con:
        con.execute(f"{SESSION}; SET threads=1; SET memory_limit='{MEMORY_LIMIT}'")
        con.execute(f"SET temp_directory={text(spill)}; SET file_search_path={text(task.base)}")
        statement = f"COPY ({task.query.sql}) TO {written} (FORMAT parquet)"
        try:
            rows, unparsed = run_query(con, task.query.source, statement)
        except UserError as error:
            return StagedFile(error=error)
    return StagedFile(name, rows, unparsed)
