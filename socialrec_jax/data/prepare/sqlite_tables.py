"""A table of an SQLite file as parquet, by Python's own reader.

SQLite's columns have no types that bind their values, so all become text, which preparation reads
as it reads text files.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.errors import BadData, InputMissing
from socialrec_jax.files import replacing

ROWS = 50_000  # held in memory at a time


def write_sqlite_table(database: Path, table: str, target: Path) -> None:
    """InputMissing: no such file or table. BadData: the file is no database."""
    if not database.is_file():
        raise InputMissing(f"{database}: no such file")
    # read only, and without a journal beside a file of others
    address = f"file:{database.resolve()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as con, _readable(database):
        names = [row[0] for row in con.execute("SELECT name FROM sqlite_master ORDER BY name")]
        if table not in names:
            raise InputMissing(f"{database} has no table {table}; it has {', '.join(names)}")
        # a name cannot be a parameter of a statement
        quoted = table.replace('"', '""')
        rows = con.execute(f'SELECT * FROM "{quoted}"')
        _write(rows, target)


@contextlib.contextmanager
def _readable(database: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise BadData(f"{database}: cannot be read as an SQLite database ({error})") from error


def _write(rows: sqlite3.Cursor, target: Path) -> None:
    columns = [column[0] for column in rows.description]
    schema = pa.schema([(column, pa.string()) for column in columns])
    # until a batch is empty
    batches = iter(lambda: list(itertools.islice(rows, ROWS)), [])
    with replacing(target) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for batch in batches:
            by_column = zip(*batch, strict=True)
            arrays = [pa.array(map(_as_text, column), pa.string()) for column in by_column]
            writer.write_table(pa.table(arrays, schema))


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    # text may be stored as bytes
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
