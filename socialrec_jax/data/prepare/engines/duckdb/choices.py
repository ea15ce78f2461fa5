"""Which columns of a file are used: by their names, and where names leave it open by a sample."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import duckdb

from socialrec_jax.data.prepare import samples, schema
from socialrec_jax.data.prepare.derived import Derived, Joined
from socialrec_jax.data.prepare.engines.duckdb.files import relation
from socialrec_jax.data.prepare.engines.duckdb.sql import name, readable_file
from socialrec_jax.data.prepare.engines.duckdb.types import STRING
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules, plain_name
from socialrec_jax.data.prepare.schema import TABLES

log = logging.getLogger(__name__)
Types = Mapping[str, str]  # column -> DuckDB's type
# enough to see words among numbers, and read in milliseconds from a file of any length
SAMPLE_ROWS = 1000
_NO_NUMBER = "%s: column %s is not used as %s, for %r is no number"
_OTHER_TIMES = (
    "%s: the time is column %s, but %s may be it as well: --data.map timestamp=%s takes that"
)
_LISTS = "%s: column %s holds lists such as %r, each of which is read as one id: write one a row"
_COARSE_TIMES = (
    "%s: column %s holds times as 32-bit floats, which are good to two minutes at best: the order "
    "of events within them is lost; write 64-bit numbers"
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Field -> column, and field -> how it is made of several columns."""

    columns: dict[str, str]
    derived: dict[str, Derived]
    needs_times: bool = True
    decimal_commas: frozenset[str] = frozenset()  # columns of prices such as 1.299,00

    @property
    def columns_used(self) -> set[str]:
        made_of = {column for made in self.derived.values() for column in made.columns_used}
        return {*self.columns.values(), *made_of}


def choose(
    con: duckdb.DuckDBPyConnection, source: Source, table: str, types: Types, rules: Rules
) -> Choice:
    """The columns of a file that are its table's fields."""
    columns = schema.match(TABLES[table], types, rules)
    needs_times = table != "events" or rules.order == "time"
    # a copy, for a joined time may be added, and a layout is shared by its files
    choice = Choice(columns, dict(source.derived), needs_times)
    # with --data.order the rows say what came first, so a time column is not even checked
    if not needs_times:
        columns.pop("timestamp", None)
    elif any(field.kind == "time" for field in TABLES[table]):
        _choose_time(con, source, types, choice, rules)
    _warn_of_coarse_times(source, types, choice)
    _drop_words(con, source, table, types, choice)
    _warn_of_lists(con, source, types, choice)
    return dataclasses.replace(choice, decimal_commas=_decimal_commas(con, source, types, choice))


def _warn_of_coarse_times(source: Source, types: Types, choice: Choice) -> None:
    column = choice.columns.get("timestamp")
    # 24 bits hold unix seconds to about two minutes, so the order of events is lost
    if column is not None and types[column] == "FLOAT":
        log.warning(_COARSE_TIMES, source.path, column)


def _choose_time(
    con: duckdb.DuckDBPyConnection, source: Source, types: Types, choice: Choice, rules: Rules
) -> None:
    # what the user or a public layout says is not second-guessed
    if "timestamp" in rules.columns or "timestamp" in choice.derived:
        return
    candidates = schema.time_columns(types, choice.columns, rules)
    hour = next((column for column in types if plain_name(column) == "hour"), None)
    if not candidates:
        _join_days(types, choice)
    # one candidate needs no look at its values
    if len(candidates) > 1 or (candidates and hour):
        sampled = _sample(con, source, types, candidates)
        kinds = {c: samples.kind_of_time(sampled[c]) for c in candidates}
        chosen = samples.choose_time(kinds, hour)
        _warn_of_other_times(source, chosen, kinds)
        _take(chosen, choice)


def _warn_of_other_times(source: Source, chosen: tuple[str, ...], kinds: dict[str, str]) -> None:
    # names alone do not tell when something was bought from when it was paid
    kind = kinds.get(chosen[0])
    others = [column for column in kinds if column not in chosen and kinds[column] == kind]
    if others:
        log.warning(_OTHER_TIMES, source.path, ", ".join(chosen), ", ".join(others), others[0])


def _take(chosen: tuple[str, ...], choice: Choice) -> None:
    choice.columns["timestamp"] = chosen[0]
    # two: a date, and the time of the day in another column
    if len(chosen) == 2:
        del choice.columns["timestamp"]
        choice.derived["timestamp"] = Joined(chosen, " ")


def _join_days(types: Mapping[str, str], choice: Choice) -> None:
    """Year, month and day in three columns are a time."""
    plain = {plain_name(column): column for column in types}
    if {"year", "month", "day"} <= plain.keys():
        parts = tuple(plain[part] for part in ("year", "month", "day"))
        choice.derived["timestamp"] = Joined(parts, "-")


def _warn_of_lists(
    con: duckdb.DuckDBPyConnection, source: Source, types: Types, choice: Choice
) -> None:
    """Baskets of items, or lists of friends, in the place of one id."""
    ids = [choice.columns.get(field) for field in ("item", "dst")]
    columns = [column for column in ids if column and STRING.match(types[column])]
    sampled = _sample(con, source, types, columns) if columns else {}
    for column, values in sampled.items():
        example = samples.lists_among(values)
        if example is not None:
            log.warning(_LISTS, source.path, column, example[:60])


def _drop_words(
    con: duckdb.DuckDBPyConnection, source: Source, table: str, types: Types, choice: Choice
) -> None:
    """An optional number whose column holds words is not that column."""
    textual = {
        field: column
        for field in TABLES[table]
        if (column := choice.columns.get(field.name)) and STRING.match(types[column])
        if field.kind == "number" and not field.required
    }
    sampled = _sample(con, source, types, list(textual.values())) if textual else {}
    for field, column in textual.items():
        odd = samples.first_that_does_not_fit(field.kind, sampled[column])
        # a rating "like" must not make every row bad: the column is optional
        if odd is not None:
            del choice.columns[field.name]
            log.warning(_NO_NUMBER, source.path, column, field.name, odd[:60])


def _decimal_commas(
    con: duckdb.DuckDBPyConnection, source: Source, types: Types, choice: Choice
) -> frozenset[str]:
    """The column of prices, where some have a decimal comma and none a decimal point.

    Then 1.299 is more than a thousand, which such a price alone does not tell.
    """
    column = choice.columns.get("price")
    if column is None or not STRING.match(types[column]):
        return frozenset()
    # three digits may be thousands, one or two are a fraction
    comma, point = (
        f"bool_or(regexp_matches({name(column)}, '[0-9]{sign}[0-9]{{1,2}}([^0-9.,]|$)'))"
        for sign in ("[,]", "[.]")
    )
    with readable_file(source.path):
        # the whole column, not a sample: one price decides how all others are read
        found = con.execute(f"SELECT {comma} AND NOT {point} FROM {relation(source, types)}")
        has_commas = found.fetchall()[0][0]
    return frozenset([column] if has_commas else [])


def _sample(
    con: duckdb.DuckDBPyConnection, source: Source, types: Types, columns: Sequence[str]
) -> dict[str, list[str | None]]:
    """The first values of some columns, as text."""
    # as text: one column may hold several types
    selected = ", ".join(f"{name(column)}::VARCHAR" for column in columns)
    with readable_file(source.path):
        rows = con.execute(
            f"SELECT {selected} FROM {relation(source, types)} LIMIT {SAMPLE_ROWS}"
        ).fetchall()
    return {column: [row[place] for row in rows] for place, column in enumerate(columns)}
