"""Fields as SQL: the clean value of a raw column, and when it makes its row unusable.

ISO times go through TIMESTAMPTZ, because a cast to TIMESTAMP ignores an offset such as +02:00.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from socialrec_jax.data.prepare.engines.duckdb.sql import name
from socialrec_jax.data.prepare.schema import Kind

STAGED_TYPES = {"number": "FLOAT", "price": "FLOAT", "flag": "BOOLEAN"}  # others: VARCHAR
WHOLE = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER)$")
NUMERIC = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*)$")
DATED = re.compile(r"^(DATE|TIMESTAMP.*)$")
STRING = re.compile(r"^(VARCHAR|UUID|ENUM.*|MIXED)$")
BOOLEAN = re.compile(r"^BOOLEAN$")
_ACCEPTED = {
    "id": (STRING, WHOLE),
    "time": (STRING, NUMERIC, DATED),
    "number": (STRING, NUMERIC),
    "price": (STRING, NUMERIC),
    "flag": (STRING, NUMERIC, BOOLEAN),
}
_TRUE = "('true', 't', 'yes', 'y', '1', '1.0')"
_FALSE = "('false', 'f', 'no', 'n', '0', '0.0')"


@dataclasses.dataclass(frozen=True)
class Check:
    """A row that meets `condition` is bad: `reason` says what is wrong with its column."""

    column: str
    value: str  # SQL of the raw value
    condition: str  # SQL
    reason: str


def fits(kind: Kind, sql_type: str) -> bool:
    """Whether a column of this DuckDB type can hold this kind of field at all."""
    if kind not in _ACCEPTED:
        return True
    return any(pattern.match(sql_type) for pattern in _ACCEPTED[kind])


def value_sql(kind: Kind, column: str, sql_type: str) -> str:
    """SQL for the clean value of `column`, NULL where it is blank or bad."""
    match kind:
        case "id":
            return f"{column}::VARCHAR"
        case "time":
            return _time_sql(column, sql_type)
        case "number" | "price":
            return f"try_cast({column} AS FLOAT)"
        case "flag":
            lower = f"lower(trim({column}::VARCHAR))"
            return f"CASE WHEN {lower} IN {_TRUE} THEN true WHEN {lower} IN {_FALSE} THEN false END"
        case "text":
            return _text_sql(column, sql_type, " ")
        case "list":
            return _text_sql(column, sql_type, "|")


def unit_sql(column: str, sql_type: str) -> str:
    """0..3: seconds, milli-, micro- or nanoseconds; NULL where the time is no plain number."""
    if DATED.match(sql_type):
        return "NULL::TINYINT"
    size = f"abs(try_cast({column} AS DOUBLE))"
    units = f"WHEN {size} < 1e11 THEN 0 WHEN {size} < 1e14 THEN 1 WHEN {size} < 1e17 THEN 2"
    return f"CASE {units} WHEN {size} > 0 THEN 3 END"


def checks_of(kind: Kind, field: str, column: str, sql_type: str) -> list[Check]:
    """When `column` makes its row unusable as `field`; blank values are bad only in ids."""
    if kind == "id":
        conditions = [(_is_blank(column), "is blank"), *_id_conditions(column, sql_type)]
    else:
        conditions = _value_conditions(kind, column, value_sql(kind, column, sql_type))
    return [Check(field, column, condition, reason) for condition, reason in conditions]


def _value_conditions(kind: Kind, column: str, value: str) -> list[tuple[str, str]]:
    """(SQL condition, reason) pairs for values that may be blank."""
    unreadable = f"NOT {_is_blank(column)} AND ({value}) IS NULL"
    infinite = f"NOT (isfinite({value}))"
    if kind == "flag":
        return [(unreadable, "is neither true nor false")]
    if kind == "time":
        # a larger number would not fit into 64 bits of nanoseconds
        infinite = f"NOT (isfinite({value}) AND abs({value}) < 1e20)"
        return [(unreadable, "is neither unix time nor ISO 8601"), (infinite, "is not finite")]
    if kind == "price":
        # many tools write NaN for a price that they do not know
        infinite = f"isinf({value})"
    if kind in ("number", "price"):
        return [(unreadable, "is not a number"), (infinite, "is not finite")]
    return []


def vector_sql(columns: Sequence[str]) -> str:
    """The lists of numbers of an item one after the other, NULL where it has none."""
    joined = "NULL::FLOAT[]"
    # list_concat takes NULL for an empty list
    for column in columns:
        joined = f"list_concat({joined}, try_cast({name(column)} AS FLOAT[]))"
    return f"nullif({joined}, [])"


def vector_checks(column: str) -> list[Check]:
    """When a list of numbers makes its row unusable."""
    quoted = name(column)
    vector = f"try_cast({quoted} AS FLOAT[])"
    no_list = f"NOT {_is_blank(quoted)} AND {vector} IS NULL"
    not_finite = f"len(list_filter({vector}, x -> x IS NULL OR NOT isfinite(x))) > 0"
    return [
        Check(column, quoted, no_list, "is not a list of numbers"),
        Check(column, quoted, not_finite, "holds numbers that are not finite"),
    ]


def _is_blank(column: str) -> str:
    return f"({column} IS NULL OR trim({column}::VARCHAR) = '')"


def _id_conditions(column: str, sql_type: str) -> list[tuple[str, str]]:
    if sql_type == "VARCHAR":
        return [(f"contains({column}, chr(10))", "holds a line break")]
    if sql_type == "MIXED":
        return [(f"left({column}, 1) IN ('[', '{{')", "is a list or an object")]
    return []


def _time_sql(column: str, sql_type: str) -> str:
    if DATED.match(sql_type):
        return f"epoch({column})"
    # a column of text may hold unix seconds, ISO times, or both
    number = f"try_cast({column} AS DOUBLE)"
    if not STRING.match(sql_type):
        return number
    return f"coalesce({number}, epoch(try_cast({column} AS TIMESTAMPTZ)))"


def _text_sql(column: str, sql_type: str, separator: str) -> str:
    """Plain text, or the texts of a list joined by the separator."""
    # parquet has typed lists, JSON lists come as text
    if sql_type.endswith("[]"):
        return f"array_to_string({column}::VARCHAR[], '{separator}')"
    if sql_type not in ("ARRAY", "MIXED"):
        return f"{column}::VARCHAR"
    return f"""CASE WHEN starts_with({column}, '[') AND json_valid({column})
        THEN array_to_string(
            CASE WHEN starts_with({column}, '[[')
            THEN {column}->>'$[*][*]' ELSE {column}->>'$[*]' END, '{separator}')
        ELSE {column} END"""
