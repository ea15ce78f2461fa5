"""Which columns of a file are used: by their names, and where names leave it open by a sample."""

from __future__ import annotations

import logging

import duckdb

from socialrec_jax.data.prepare import samples, schema
from socialrec_jax.data.prepare.engines.duckdb.id_choice import choose_ids
from socialrec_jax.data.prepare.engines.duckdb.notations import note_notations
from socialrec_jax.data.prepare.engines.duckdb.refusals import warn_of_unread_refusals
from socialrec_jax.data.prepare.engines.duckdb.sampling import Choice, SampledFile, Types
from socialrec_jax.data.prepare.engines.duckdb.time_choice import choose_time, warn_of_coarse_times
from socialrec_jax.data.prepare.readers import Source
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.prepare.schema import TABLES

log = logging.getLogger(__name__)
_NO_NUMBER = "%s: column %s is not used as %s, for %r is no %s"
_NEEDED = {"number": "number", "label": "name of a type"}
_OBJECTS = ("OBJECT", "STRUCT", "MAP")
_OBJECTS_AS_TEXT = "%s: column %s holds objects, whose names and values are read as one text"
_LISTS = "%s: column %s holds lists such as %r, each of which is read as one id: write one a row"


def choose(
    con: duckdb.DuckDBPyConnection, source: Source, table: str, types: Types, rules: Rules
) -> Choice:
    """The columns of a file that are its table's fields."""
    rules = rules.of_table(table)
    file = SampledFile(con, source, types)
    columns = schema.match(TABLES[table], types, rules)
    needs_times = table != "events" or rules.order == "time"
    # a copy, for a joined time may be added, and a layout is shared by its files
    choice = Choice(columns, dict(source.derived), needs_times)
    if table == "events":
        choose_ids(file, choice, rules)
    # with --data.order the rows say what came first, so a time column is not even checked
    if not needs_times:
        columns.pop("timestamp", None)
    elif any(field.kind == "time" for field in TABLES[table]):
        choose_time(file, choice, rules)
    warn_of_coarse_times(file, choice)
    _drop_words(file, table, choice)
    _warn_of_lists(file, choice)
    _warn_of_objects(file, table, choice)
    warn_of_unread_refusals(file, table, choice, rules)
    note_notations(file, table, choice, rules)
    return choice


def _warn_of_lists(file: SampledFile, choice: Choice) -> None:
    """Baskets of items, or lists of friends, in the place of one id."""
    ids = [choice.columns.get(field) for field in ("item", "dst")]
    columns = [column for column in ids if column and file.is_text(column)]
    for column, values in file.sample(columns).items():
        example = samples.lists_among(values)
        if example is not None:
            log.warning(_LISTS, file.source.path, column, example[:60])


def _warn_of_objects(file: SampledFile, table: str, choice: Choice) -> None:
    """Texts that are objects, such as a title in each language."""
    fields = [field.name for field in TABLES[table] if field.kind in ("text", "label")]
    columns = [column for field in fields if (column := choice.columns.get(field))]
    objects = [column for column in columns if file.types[column].startswith(_OBJECTS)]
    if objects:
        log.warning(_OBJECTS_AS_TEXT, file.source.path, ", ".join(objects))


def _drop_words(file: SampledFile, table: str, choice: Choice) -> None:
    """An optional number whose column holds words, or a label of fractions, is not that column."""
    optional = _optional_columns(file, table, choice)
    sampled = file.sample(list(optional.values()))
    for field, column in optional.items():
        odd = samples.first_that_does_not_fit(field.kind, sampled[column])
        # a rating "like" must not make every row bad: the column is optional
        if odd is not None:
            del choice.columns[field.name]
            shown = column, field.name, odd[:60], _NEEDED[field.kind]
            log.warning(_NO_NUMBER, file.source.path, *shown)


def _optional_columns(file: SampledFile, table: str, choice: Choice) -> dict[schema.Field, str]:
    """The columns of labels, and those of numbers that are text."""
    return {
        field: column
        for field in TABLES[table]
        if (column := choice.columns.get(field.name)) and not field.required
        if field.kind == "label" or (field.kind == "number" and file.is_text(column))
    }
