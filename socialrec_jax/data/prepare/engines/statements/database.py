"""What the statements need of a database. Queries are SELECTs in DuckDB's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from socialrec_jax.data.columns import Strings


class Database(Protocol):
    """Holds tables whose rows have an order: `rowid` is a row's place, counted from 0.

    Queries name the columns that they read, because `*` may hold `rowid` or not.
    """

    def rows(self, query: str) -> list[tuple]:
        """All rows of a query that has few."""
        ...

    def create_table(self, table: str, query: str) -> None:
        """Keep the rows of a query in their order, in place of a table of that name."""
        ...

    def create_view(self, view: str, query: str) -> None:
        """Give a query a name, in place of a view of that name."""
        ...

    def update(self, table: str, values: Mapping[str, str], condition: str) -> int:
        """Set columns to expressions where a condition is true; in how many rows it is."""
        ...

    def columns(self, table: str, **types: type) -> dict[str, np.ndarray]:
        """Columns of a table without NULLs, in the order of rows."""
        ...

    def strings(self, table: str, column: str) -> Strings:
        """A text column of a table in the order of rows; NULL is the empty string."""
        ...

    def lists(self, table: str, column: str) -> tuple[np.ndarray, np.ndarray]:
        """A column of lists of one length: the places [n] of rows that have one, lists [n, D]."""
        ...
