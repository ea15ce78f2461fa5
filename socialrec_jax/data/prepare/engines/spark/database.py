"""`Database` by a session of Spark. A table is a folder of parquet files in the order of rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.engines.duckdb.sql import name
from socialrec_jax.data.prepare.engines.spark.dialect import to_spark
from socialrec_jax.data.prepare.engines.spark.parts import Parts
from socialrec_jax.data.prepare.engines.statements.database import Database


class SparkDatabase(Database):
    """See `Database`, which documents each method; here `*` holds `rowid`.

    folder: where tables lie. All machines must reach it by the same path.
    """

    def __init__(self, session: Any, folder: Path):
        self.session, self.folder = session, folder.resolve()
        self._parts: dict[str, Parts] = {}
        self._numbers = itertools.count()

    def rows(self, query: str) -> list[tuple]:
        return [tuple(row) for row in self._sql(query).collect()]

    def create_table(self, table: str, query: str) -> None:
        # a number, for the query may read the table that it replaces
        folder = self.folder / f"{table}-{next(self._numbers)}"
        self._sql(query).write.parquet(_address(folder))
        self.register(table, Parts.of_folder(folder))

    def register(self, table: str, parts: Parts) -> None:
        """A table of files that lie there, each of which has rows of the same columns."""
        self._parts[table] = parts
        files = self.session.read.parquet(*map(_pattern, parts.files))
        columns = [_quoted(column) for column in files.columns]
        # `_` begins no name of a staged column
        place = ("_metadata.file_name AS _file", "_metadata.row_index AS _place")
        first_rows = self._first_rows(parts).hint("broadcast")
        placed = files.selectExpr(*columns, *place).join(first_rows, "_file")
        placed.selectExpr(*columns, "_first + _place AS rowid").createOrReplaceTempView(table)

    def _first_rows(self, parts: Parts) -> Any:
        """A small table that says where each file begins."""
        files = zip(parts.files, parts.first_rows, strict=True)
        values = ", ".join(f"('{file.name}', {first_row}L)" for file, first_row in files)
        return self.session.sql(f"SELECT * FROM VALUES {values} AS begins(_file, _first)")

    def create_view(self, view: str, query: str) -> None:
        # as text, for then it shows what later becomes of the tables that it names
        self.session.sql(f"CREATE OR REPLACE TEMPORARY VIEW {view} AS {to_spark(query)}")

    def update(self, table: str, values: Mapping[str, str], condition: str) -> int:
        updated = self.rows(f"SELECT count(*) FROM {table} WHERE {condition}")[0][0]
        # files are never changed: a view shows the new values
        if updated:
            selected = []
            for column in map(name, self.session.table(table).columns):
                value = values.get(column.strip('"'))
                new = f"CASE WHEN {condition} THEN {value} ELSE {column} END AS {column}"
                selected.append(column if value is None else new)
            # a text that names itself would be a circle
            new_rows = self._sql(f"SELECT {', '.join(selected)} FROM {table}")
            new_rows.createOrReplaceTempView(table)
        return updated

    def columns(self, table: str, **types: type) -> dict[str, np.ndarray]:
        parts = self._parts[table]
        return {column: parts.column(column, kind) for column, kind in types.items()}

    def strings(self, table: str, column: str) -> Strings:
        return self._parts[table].strings(_unquoted(column))

    def lists(self, table: str, column: str) -> tuple[np.ndarray, np.ndarray]:
        return self._parts[table].lists(column)

    def _sql(self, query: str) -> Any:
        return self.session.sql(to_spark(query))


def _address(path: Path) -> str:
    return f"file://{path}"


def _pattern(path: Path) -> str:
    """The address of a file to read, in which `*`, `[` and the like stand for themselves."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", _address(path))


def _quoted(column: str) -> str:
    return "`" + column.replace("`", "``") + "`"


def _unquoted(column: str) -> str:
    return column[1:-1].replace('""', '"') if column.startswith('"') else column
