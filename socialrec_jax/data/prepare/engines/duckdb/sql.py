"""Quoting, and errors of files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb

from socialrec_jax.data.prepare.readers import readable

FILE_ERRORS = (duckdb.InvalidInputException, duckdb.IOException)  # what DuckDB says of a bad file
# begins the names of columns that are not the file's: no header may hold it
INTERNAL = "\x01"


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


def is_one_of(value: str, words: Iterable[str]) -> str:
    """SQL of whether a value is one of some words; NULL where it is NULL."""
    # IN makes a join of many words, and after a join of several threads rows have no order
    return f"list_contains([{', '.join(map(text, words))}], {value})"
