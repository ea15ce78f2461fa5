"""What engines share that hold the tables in a database: all but the reading of files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.engines.engine import BadRow, Engine, IdOrder, Part
from socialrec_jax.data.prepare.engines.statements import filtering, tables
from socialrec_jax.data.prepare.engines.statements.checks import Check
from socialrec_jax.data.prepare.engines.statements.database import Database
from socialrec_jax.data.prepare.engines.statements.row_order import warn_of_newest_first
from socialrec_jax.data.prepare.engines.statements.staged import (
    BLANK_LINE,
    StagedTable,
    good_rows,
    reject,
    settle,
)
from socialrec_jax.data.prepare.filters import Filters
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.world import Events, Friends, Items

_REPEATS = "repeats an earlier row, the first is kept"


class DatabaseEngine(Engine):
    """See `Engine`, which documents each method."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self.staged: dict[str, StagedTable] = {}

    @property
    def db(self) -> Database:
        """The database that the calling thread may use."""
        raise NotImplementedError

    def _settle(self, staged: StagedTable) -> list[Part]:
        """Check what only all rows of a table together show."""
        self.staged[staged.table] = staged
        settle(self.db, staged, self.rules)
        if staged.table == "events" and self.rules.order == "time":
            warn_of_newest_first(self.db)
        return staged.parts

    def count_rows(self, table: str) -> tuple[int, int]:
        counts = self.db.rows(
            f"""
            SELECT count(*) FILTER (bad > {BLANK_LINE}), count(*) FROM {table}_rows
            WHERE bad IS NULL OR bad > {BLANK_LINE}
            """
        )
        bad, rows = counts[0]
        return bad, rows

    def bad_rows(self, table: str, part: Part, limit: int | None = None) -> list[BadRow]:
        rows = self.db.rows(
            f"""
            SELECT rowid, bad, raw FROM {table}_rows
            WHERE bad > {BLANK_LINE} AND rowid BETWEEN {part.first_row} AND {part.end_row - 1}
            ORDER BY rowid {"" if limit is None else f"LIMIT {limit}"}
            """
        )
        reasons = self.staged[table].reasons
        return [BadRow(row, reasons[bad][0], raw, reasons[bad][1]) for row, bad, raw in rows]

    def reject_repeats(self, table: str, keys: Sequence[str]) -> int:
        key = ", ".join(keys)
        good = f"FROM {table}_rows WHERE bad IS NULL"
        # to mark rows takes several times as long as to count them
        counts = f"SELECT count(*) FROM (SELECT DISTINCT {key} {good})"
        if self.db.rows(f"SELECT count(*) - ({counts}) {good}")[0][0] == 0:
            return 0
        self.db.create_table(
            "repeated_rows",
            f"""
            SELECT row FROM (SELECT rowid AS row {good})
            ANTI JOIN (SELECT min(rowid) AS row {good} GROUP BY {key}) USING (row)
            """,
        )
        repeated = "rowid IN (SELECT row FROM repeated_rows)"
        repeats = Check(keys[0], keys[0], repeated, _REPEATS)
        return reject(self.db, self.staged[table], repeats)

    def filter_events(self, filters: Filters) -> dict[str, int]:
        good_events = good_rows(self.staged["events"], self.rules)
        return filtering.filter_events(self.db, filters, good_events)

    def fill_times(self) -> tuple[int, int]:
        return tables.fill_times(self.db)

    def number_users(self, order: IdOrder) -> Strings:
        return self._numbered("user_ids", order)

    def number_items(self, order: IdOrder) -> Strings:
        return self._numbered("item_ids", order)

    def _numbered(self, table: str, order: IdOrder) -> Strings:
        if order == "md5":
            return tables.number_by_md5(self.db, table)
        return tables.number_by_first_row(self.db, table)

    def event_types(self) -> list[str]:
        return tables.number_event_types(self.db, self.rules.types)

    def events(self, num_users: int) -> Events:
        return tables.events(self.db, num_users)

    def friends(self, num_users: int, direction: str) -> tuple[Friends, dict[str, int]]:
        return tables.friends(self.db, num_users, direction)

    def items(self, ids: Strings) -> tuple[Items, np.ndarray]:
        return tables.items(self.db, ids)

    def columns_used(self, table: str) -> dict[str, str]:
        return self.staged[table].columns

    def columns_unused(self, table: str) -> list[str]:
        return self.staged[table].unused

    def described(self, table: str) -> np.ndarray:
        return tables.described(self.db, table)

    def attributes(self) -> dict[str, Strings]:
        return tables.attributes(self.db, self.staged["users"].extras)
