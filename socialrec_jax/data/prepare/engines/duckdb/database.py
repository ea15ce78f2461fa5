"""`Database` by a connection of DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb
import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.engines.statements.database import Database

SLICE = 2_000_000  # rows fetched at a time


class DuckDBDatabase(Database):
    """See `Database`, which documents each method."""

    def __init__(self, con: duckdb.DuckDBPyConnection):
        self.con = con

    def rows(self, query: str) -> list[tuple]:
        return self.con.execute(query).fetchall()

    def create_table(self, table: str, query: str) -> None:
        self.con.execute(f"CREATE OR REPLACE TABLE {table} AS {query}")

    def create_view(self, view: str, query: str) -> None:
        self.con.execute(f"CREATE OR REPLACE VIEW {view} AS {query}")

    def update(self, table: str, values: Mapping[str, str], condition: str) -> int:
        assigned = ", ".join(f"{column} = {value}" for column, value in values.items())
        updated = self.con.execute(f"UPDATE {table} SET {assigned} WHERE {condition}").fetchone()
        return updated[0] if updated else 0

    def columns(self, table: str, **types: type) -> dict[str, np.ndarray]:
        # the peak of memory is the columns and one slice
        size = self._count(table)
        columns = {column: np.empty(size, kind) for column, kind in types.items()}
        # the slice ends where its rows do, which the last one shows
        start = 0
        for part in self._slices(table, ", ".join(types), size):
            end = start
            for column, values in part.items():
                end = start + len(values)
                columns[column][start:end] = values
            start = end
        return columns

    def strings(self, table: str, column: str) -> Strings:
        selected = f"coalesce({column}, '') AS value"
        parts = [part["value"] for part in self._slices(table, selected, self._count(table))]
        return Strings.of(np.concatenate(parts).tolist() if parts else [])

    def lists(self, table: str, column: str) -> tuple[np.ndarray, np.ndarray]:
        # DuckDB gives lists as one Python object a row, and unnested numbers as one array
        rows = self.con.execute(
            f"""
            SELECT rowid AS place, unnest({column}) AS entry FROM {table}
            WHERE {column} IS NOT NULL ORDER BY rowid
            """
        ).fetchnumpy()
        owners = np.unique(np.asarray(rows["place"]))
        entries = np.asarray(rows["entry"], np.float32)
        return owners, entries.reshape(len(owners), -1 if len(owners) else 0)

    def _count(self, table: str) -> int:
        return self.rows(f"SELECT count(*) FROM {table}")[0][0]

    def _slices(self, table: str, columns: str, size: int) -> Iterator[dict[str, np.ndarray]]:
        # by rowid, for an OFFSET would read all rows before each slice again
        for start in range(0, size, SLICE):
            yield self.con.execute(
                f"""
                SELECT {columns} FROM {table}
                WHERE rowid >= {start} AND rowid < {start + SLICE} ORDER BY rowid
                """
            ).fetchnumpy()
