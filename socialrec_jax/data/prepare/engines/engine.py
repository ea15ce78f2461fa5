"""What an engine must give so that a folder of raw tables can become a World.

An engine holds the four tables of one folder. Calls come in this order: `stage` each table, count
and write the bad rows, `fill_times`, number users, items and event types, then the columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.filters import Filters
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.world import Events, Friends, Items

IdOrder = Literal["md5", "first row"]


@dataclasses.dataclass(frozen=True)
class UnparsedRecord:
    """A record of a text file that could not be taken apart, so it became no row."""

    record: int  # counted from 1 over the file
    column: str | None
    value: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Part:
    """Where a file's rows lie in its table, and the records that became no row."""

    source: Source
    first_row: int
    end_row: int
    unparsed: list[UnparsedRecord]


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that cannot be used."""

    row: int  # counted from 0 over all files of the table
    column: str | None
    value: str | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Reject:
    """A bad row traced to its line; line 0 where stray quotes leave open which line that is."""

    table: str
    file: str
    line: int
    column: str | None
    value: str | None
    reason: str


class Engine(Protocol):
    """Reads one set of raw tables: checks each row, numbers ids, sorts."""

    def concurrently(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of calls of this engine that do not depend on each other.

        In several threads where that is faster. The first of the calls that failed raises.
        """
        ...

    def columns_of(self, source: Source) -> Mapping[str, str]:
        """Column name -> the engine's type. BadData: the file cannot be read."""
        ...

    def read_columns(self, source: Source) -> dict[str, list[str]]:
        """All columns of a file row by row, written as ids are; blank where there is nothing."""
        ...

    def stage(self, table: str, sources: Sequence[Source]) -> list[Part]:
        """Read and check the files of a table, good and bad rows alike; no sources: an empty table.

        BadData: a file that cannot be read, lacks a required column, or holds a type that cannot
        be one of our fields.
        """
        ...

    def count_rows(self, table: str) -> tuple[int, int]:
        """How many rows are bad, and how many there are; blank lines are neither."""
        ...

    def bad_rows(self, table: str, part: Part, limit: int | None = None) -> list[BadRow]:
        """The bad rows of one file in their order."""
        ...

    def reject_repeats(self, table: str, keys: Sequence[str]) -> int:
        """Make every good row bad whose keys an earlier one has; how many these were."""
        ...

    def write_rejects(self, rejects: Iterable[Reject], path: Path) -> None:
        """Write the parquet file of all rejected rows, empty when there are none."""
        ...

    def filter_events(self, filters: Filters) -> dict[str, int]:
        """Leave out events that do not meet the filters; how many by the filter's option.

        Users and items of few events go until all that are left have enough (a k-core), which is
        counted as `k_core`.
        """
        ...

    def fill_times(self) -> tuple[int, int]:
        """Give each event of unknown time one, so that it keeps its place among its user's events.

        It gets the time of the user's event before it in the file, else of the next one that has a
        time, else the oldest of all. Returns how many events had no time, and how many had one.
        """
        ...

    def number_users(self, order: IdOrder) -> Strings:
        """Number all users of events, social and users; their ids in the order of the numbers.

        order: by the md5 of the id, or by the first row in the events, then in the columns src and
        dst of social; the users table does not count then.
        """
        ...

    def number_items(self, order: IdOrder) -> Strings:
        """The same for the items of events and items; by first row those of the events alone."""
        ...

    def event_types(self) -> list[str]:
        """Number the event types, most frequent first; blank is `schema.DEFAULT_TYPE`.

        Types that differ in case or blanks around them are one, and those of `Rules.types`.
        """
        ...

    def events(self, num_users: int) -> Events:
        """All events by (user, time, place in the file)."""
        ...

    def friends(self, num_users: int, direction: str) -> tuple[Friends, dict[str, int]]:
        """The friend graph, and how many self loops and repeated edges were dropped.

        Of repeated edges the largest weight and the earliest time stay, where an unknown time is
        the earliest. direction: see `config.DataConfig.social_direction`.
        """
        ...

    def items(self, ids: Strings) -> tuple[Items, np.ndarray]:
        """What is known of every item by number, and whether its availability is said [V] bool."""
        ...

    def columns_used(self, table: str) -> dict[str, str]:
        """Field -> the column of the files that it was read from."""
        ...

    def columns_unused(self, table: str) -> list[str]:
        """Columns of the files that are neither a field nor an attribute nor a vector."""
        ...

    def described(self, table: str) -> np.ndarray:
        """The numbers of those users or items that the table `users` or `items` has a row of."""
        ...

    def attributes(self) -> dict[str, Strings]:
        """The attributes of users by name, each in the order of users; unknown is blank."""
        ...
