"""A file whose columns are looked at, and what was chosen of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import duckdb

from socialrec_jax.data.prepare.derived import Derived
from socialrec_jax.data.prepare.engines.duckdb.files import relation
from socialrec_jax.data.prepare.engines.duckdb.sql import name, readable_file
from socialrec_jax.data.prepare.engines.duckdb.types import STRING
from socialrec_jax.data.prepare.readers import Source

Types = Mapping[str, str]  # column -> DuckDB's type
# enough to see words among numbers, and read in milliseconds from a file of any length
SAMPLE_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Choice:
    """Field -> column, and field -> how it is made of several columns."""

    columns: dict[str, str]
    derived: dict[str, Derived]
    needs_times: bool = True
    decimal_commas: set[str] = dataclasses.field(default_factory=set)
    """Columns of numbers such as 1.299,00."""
    thousands_commas: set[str] = dataclasses.field(default_factory=set)
    """Columns of numbers such as 1,299.00."""
    years_first: set[str] = dataclasses.field(default_factory=set)
    """Columns of dates such as 20-01-13, whose year is the first part."""
    separators: dict[str, str] = dataclasses.field(default_factory=dict)
    """Column of lists -> what stands between their parts, where that is no `|`."""

    @property
    def columns_used(self) -> set[str]:
        made_of = {column for made in self.derived.values() for column in made.columns_used}
        return {*self.columns.values(), *made_of}


@dataclasses.dataclass(frozen=True)
class SampledFile:
    """A file with a connection that reads it."""

    con: duckdb.DuckDBPyConnection
    source: Source
    types: Types

    def is_text(self, column: str | None) -> bool:
        return column is not None and bool(STRING.match(self.types[column]))

    def sample(self, columns: Sequence[str]) -> dict[str, list[str | None]]:
        """The first values of some columns, as text."""
        if not columns:
            return {}
        # as text: one column may hold several types
        selected = ", ".join(f"{name(column)}::VARCHAR" for column in columns)
        rows = self.select(selected, SAMPLE_ROWS)
        return {column: [row[place] for row in rows] for place, column in enumerate(columns)}

    def select(self, expressions: str, most_rows: int | None = None) -> list[tuple]:
        """Rows of SQL expressions over the columns; most_rows: None for all."""
        limit = "" if most_rows is None else f" LIMIT {most_rows}"
        sql = f"SELECT {expressions} FROM {relation(self.source, self.types)}{limit}"
        with readable_file(self.source.path):
            return self.con.execute(sql).fetchall()
