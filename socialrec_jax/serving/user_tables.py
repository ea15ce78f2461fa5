"""The answer of a task for many users, computed part by part when it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pyarrow as pa


@dataclasses.dataclass(frozen=True, eq=False)
class UserTables:
    """The rows of Q users, in the order of the users.

    rows_of: for a slice of the users, (number of users, their rows) part by part. The rows of a
    user must not depend on the other users.
    """

    num_users: int
    columns: pa.Schema
    rows_of: Callable[[slice], Iterator[tuple[int, pa.Table]]]

    def tables(
        self, users: slice = slice(None), advance: Callable[[int], None] | None = None
    ) -> Iterator[pa.Table]:
        """The rows of some users as a stream of tables of one schema.

        advance: is called with a number of users when their rows have been taken. The first table
        is empty: a stream has a schema even without users.
        """
        yield self.columns.empty_table()
        for num_users, rows in self.rows_of(users):
            yield rows
            # After the rows were taken: before that they are not written yet.
            if advance:
                advance(num_users)
