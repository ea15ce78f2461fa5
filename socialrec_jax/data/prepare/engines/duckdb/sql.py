"""Quoting, and results in slices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.readers import readable

FILE_ERRORS = (duckdb.InvalidInputException, duckdb.IOException)  # what DuckDB says of a bad file
# begins the names of columns that are not the file's: no header may hold it
INTERNAL = "\x01"
SLICE = 2_000_000  # rows fetched at a time


@contextlib.contextmanager
def readable_file(path: Path) -> Iterator[None]:
    """BadData with one line where the block cannot read a file."""
    with readable(path, *FILE_ERRORS):
        try:
            yield
        except duckdb.Error as error:
            # Damaged Parquet metadata is an error of no class of its own.
            if type(error) is duckdb.Error:
                raise duckdb.IOException(str(error)) from error
            raise


def name(column: str) -> str:
    """A quoted SQL name."""
    return '"' + column.replace('"', '""') + '"'


def text(value: object) -> str:
    """A quoted SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def sql_list(words: Iterable[str]) -> str:
    """Strings in parentheses, as IN takes them."""
    return "(" + ", ".join(map(text, words)) + ")"


def count_rows(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


def fetch(con: duckdb.DuckDBPyConnection, table: str, **types: type) -> dict[str, np.ndarray]:
    """Columns of a table without NULLs, in row order: the peak of memory is them and one slice."""
    size = count_rows(con, table)
    columns = {column: np.empty(size, kind) for column, kind in types.items()}
    # the slice ends where its rows do, which the last one shows
    start = 0
    for part in _slices(con, table, ", ".join(types), size):
        end = start
        for column, values in part.items():
            end = start + len(values)
            columns[column][start:end] = values
        start = end
    return columns


def fetch_strings(con: duckdb.DuckDBPyConnection, table: str, column: str, size: int) -> Strings:
    """A text column of `size` rows in row order; NULL is the empty string."""
    selected = f"coalesce({column}, '') AS value"
    parts = [part["value"] for part in _slices(con, table, selected, size)]
    return Strings.of(np.concatenate(parts).tolist() if parts else [])


def _slices(
    con: duckdb.DuckDBPyConnection, table: str, columns: str, size: int
) -> Iterator[dict[str, np.ndarray]]:
    # by rowid, for an OFFSET would read all rows before each slice again
    for start in range(0, size, SLICE):
        yield con.execute(
            f"""
            SELECT {columns} FROM {table}
            WHERE rowid >= {start} AND rowid < {start + SLICE} ORDER BY rowid
            """
        ).fetchnumpy()
