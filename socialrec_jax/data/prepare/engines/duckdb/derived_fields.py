"""Fields that are made of several columns, as SQL."""

from __future__ import annotations

from socialrec_jax.data.prepare.derived import (
    ClockColumns,
    ClockDigits,
    Column,
    Constant,
    Derived,
    FirstFlag,
    FlaggedColumns,
    Joined,
    Later,
    Replaced,
)
from socialrec_jax.data.prepare.engines.duckdb.sql import name, text

_COLON = " || ':' || "


def derived_sql(derived: Derived) -> str:
    """SQL over a file's columns for a field that is made of them."""
    # parts that are missing make the whole missing: || gives NULL
    match derived:
        case Constant(value):
            return text(value)
        case Column(column):
            return name(column)
        case Later(date, milliseconds):
            added = f"to_milliseconds(try_cast({name(milliseconds)} AS BIGINT))"
            return f"(try_cast({name(date)} AS TIMESTAMP) + {added})::VARCHAR"
        case FirstFlag(meanings, default):
            flagged = [f"WHEN {name(c)} = '1' THEN {text(kind)}" for c, kind in meanings.items()]
            return f"CASE {' '.join(flagged)} ELSE {text(default)} END"
        case Replaced(column, old, new):
            return f"replace({name(column)}, {text(old)}, {text(new)})"
        case FlaggedColumns(columns):
            named = [f"CASE {name(column)} WHEN '1' THEN {text(column)} END" for column in columns]
            return f"concat_ws('|', {', '.join(named)})"
        case ClockColumns() | ClockDigits():
            return _moment_sql(derived)
        case Joined(columns, separator):
            # || gives NULL where a part is missing: half a time is none
            return f" || {text(separator)} || ".join(f"{name(c)}::VARCHAR" for c in columns)


def _moment_sql(derived: ClockColumns | ClockDigits) -> str:
    """A date and a time of the day as one text."""
    if isinstance(derived, ClockDigits):
        date, digits = derived.columns_used
        padded = _padded(digits, derived.width)
        parts = [f"substr({padded}, {place}, 2)" for place in range(1, derived.width, 2)]
        return f"{name(date)}::VARCHAR || ' ' || {_COLON.join(parts)}"
    parts = [_padded(column, 2) for column in derived.clock]
    # an hour alone is no time of the day to the reader of dates
    minutes = [text("00")] if len(parts) == 1 else []
    return f"{_day(derived.date)} || ' ' || {_COLON.join([*parts, *minutes])}"


def _day(columns: tuple[str, ...]) -> str:
    """A date in one column, or year, month and day in three."""
    if len(columns) == 1:
        return f"{name(columns[0])}::VARCHAR"
    return " || '-' || ".join(_padded(column, 2) for column in columns)


def _padded(column: str, width: int) -> str:
    """Whole numbers with zeros before them, so that none is shorter."""
    digits = f"split_part(trim({name(column)}::VARCHAR), '.', 1)"
    return f"lpad({digits}, greatest({width}, length({digits})::INTEGER), '0')"
