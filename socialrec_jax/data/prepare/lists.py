"""Rows that hold several events or friends in one column: orders with items, lists of friends.

Such a column is recognised by its name (`items`, `friends`), or by lists in place of an id. Each
part becomes a row of its own; the other columns are repeated.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import dataclasses
import functools
import itertools
import json
import logging
from collections.abc import Sequence

from socialrec_jax.data.prepare.expansions import Expansion, Row
from socialrec_jax.data.prepare.readers import Source, header_of, lines
from socialrec_jax.data.prepare.rules import Rules, plain_name
from socialrec_jax.data.prepare.schema import TABLES, match

log = logging.getLogger(__name__)
FIRST_ROWS = 200  # that are looked at
# table -> the field that a part is, and names of columns of such lists
FIELDS = {"events": "item", "social": "dst"}
NAMES = {
    "events": (
        *("items", "itemids", "itemlist", "products", "productids", "productlist", "skus", "asins"),
        *("lineitems", "orderitems", "orderlines", "basket", "cart", "articles", "movies", "books"),
        *("songs", "tracks", "videos", "events", "actions", "interactions", "clicks", "sequence"),
    ),
    # not followers: these follow the user, not the other way round
    "social": (
        *("friends", "friendids", "friendlist", "following", "followees", "contacts", "trustees"),
        *("neighbors", "neighbours", "connections"),
    ),
}
_COUNTS = ("events", "actions", "interactions", "clicks")
_NOTE = "%s: column %s holds lists: each part is read as a row of its own"
_SEPARATORS = (";", "|", ",", " ")


def column_of_lists(
    table: str, columns: Sequence[str], lists: Sequence[str], rules: Rules
) -> str | None:
    """The column whose parts are rows. lists: the columns whose values are lists."""
    if table not in FIELDS:
        return None
    chosen = match(TABLES[table], columns, rules.of_table(table)).get(FIELDS[table])
    if chosen is not None:
        return chosen if chosen in lists else None
    named = {plain_name(column): column for column in lists}
    return next((named[name] for name in NAMES[table] if name in named), None)


def with_lists(source: Source, table: str, rules: Rules) -> Source:
    """The source of text or JSON, with an expansion where a column holds lists."""
    if table not in FIELDS or source.expansion or source.derived:
        return source
    found = _json_lists(source, table, rules)
    if source.kind == "text":
        found = _text_lists(source, table, rules)
    return found or source


def note(source: Source, column: str) -> None:
    """Log that a column is read as lists."""
    log.warning(_NOTE, source.path, column)


def _first_lines(source: Source) -> list[str]:
    with contextlib.closing(lines(source)) as all_lines:
        return list(itertools.islice(all_lines, FIRST_ROWS))


# ---- JSON


def _json_lists(source: Source, table: str, rules: Rules) -> Source | None:
    if source.kind != "json":
        return None
    records = [_record(line) for line in _first_lines(source)]
    keys = list(dict.fromkeys(key for record in records for key in record))
    lists = [key for key in keys if any(isinstance(record.get(key), list) for record in records)]
    column = column_of_lists(table, keys, lists, rules)
    # {"data": [...]} wraps all rows
    if lists == keys and len(keys) == 1:
        column = keys[0]
    if column is None:
        return None
    note(source, column)
    expansion = Expansion(functools.partial(_json_rows, column, FIELDS[table]), is_json=True)
    return dataclasses.replace(source, expansion=expansion)


def _record(line: str) -> dict:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _json_rows(column: str, field: str, line: str) -> list[Row]:
    record = _record(line)
    parts = record.pop(column, None)
    # a line that is broken, or without a list, becomes a row that is checked as any other
    if not isinstance(parts, list):
        return [(line,)]
    rows = [part if isinstance(part, dict) else {field: part} for part in parts]
    return [(json.dumps({**record, **row}),) for row in rows]


# ---- Text


def _text_lists(source: Source, table: str, rules: Rules) -> Source | None:
    if len(source.delimiter) > 1 or not source.has_header:
        return None
    names = header_of(source)
    # broken lines are rejected later, and say nothing of a column
    rows = [_cells(line, source) for line in _first_lines(source)[1:]]
    rows = [row for row in rows if len(row) == len(names)]
    by_column = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    lists = [name for name, cells in by_column.items() if _are_lists(table, name, cells)]
    column = column_of_lists(table, names, lists, rules)
    if column is None:
        return None
    note(source, column)
    place, field = names.index(column), FIELDS[table]
    separator = _separator(by_column[column])
    rows_of = functools.partial(_text_rows, source, place, separator)
    columns = (*names[:place], field, *names[place + 1 :])
    return dataclasses.replace(source, expansion=Expansion(rows_of, columns, has_header=True))


def _cells(line: str, source: Source) -> list[str]:
    if not source.quote:
        return line.split(source.delimiter)
    reader = csv.reader(
        [line], delimiter=source.delimiter, quotechar=source.quote, escapechar=source.escape
    )
    try:
        return next(reader, [])
    # a line that Python cannot take apart is checked by the engine
    except csv.Error:
        return line.split(source.delimiter)


def _are_lists(table: str, name: str, cells: Sequence[str]) -> bool:
    """Whether cells stand in brackets, or hold separators where the name says lists."""
    if any(map(_in_brackets, cells)):
        return True
    # a column `items` may count them, and one of 1,234 clicks certainly does
    is_named = plain_name(name) in NAMES[table] and plain_name(name) not in _COUNTS
    return is_named and any(sign in cell.strip() for cell in cells for sign in _SEPARATORS)


def _in_brackets(cell: str) -> bool:
    """Whether a cell is a list, or an array of PostgreSQL; objects have names."""
    ends = cell.strip()[:1] + cell.strip()[-1:]
    return ends == "[]" or (ends == "{}" and ":" not in cell)


def _separator(cells: Sequence[str]) -> str:
    """What stands between the parts: the first of some letters that occurs."""
    return next((s for s in _SEPARATORS if any(s in cell.strip() for cell in cells)), ";")


def _text_rows(source: Source, place: int, separator: str, line: str) -> list[Row]:
    cells = _cells(line, source)
    # a row of another length stays, so that it is rejected
    if place >= len(cells):
        return [tuple(cells)] if cells else []
    parts = _parts(cells[place], separator)
    return [(*cells[:place], part, *cells[place + 1 :]) for part in parts]


def _parts(cell: str, separator: str) -> list[str]:
    if _in_brackets(cell):
        inner = cell.strip()[1:-1]
        try:
            return [str(part) for part in ast.literal_eval(f"[{inner}]")]
        except (ValueError, SyntaxError):
            return [part.strip() for part in inner.split(",")]
    return [part.strip() for part in cell.split(separator) if part.strip()]
