"""Times as SQL: nanoseconds since 1970, and the notation that they are written in.

`times.py` says what the notations are and decides between them; `staging.py` keeps three columns
of a time: `stamp` (nanoseconds), `unit` (the notation), and `other` (nanoseconds by the second
reading: month before day, or plain seconds).
"""

from __future__ import annotations

import dataclasses

from socialrec_jax.data.prepare import times
from socialrec_jax.data.prepare.engines.duckdb.sql import INTERNAL, name, text
from socialrec_jax.data.prepare.engines.duckdb.types import DATED, NUMERIC, WHOLE
from socialrec_jax.data.prepare.engines.duckdb.written_dates import rewritten
from socialrec_jax.data.prepare.rules import Rules

_NO_PART_OF_A_DATE = (
    r"(?i)^(mon|tue|wed|thu|fri|sat|sun)[a-z]*[., ]+|[\[\]]| GMT$| UTC$| ?[(].*[)]$"
)
_LARGEST = 9_200_000_000  # seconds whose nanoseconds fit into 64 bits
_YEAR_ONE = -62_135_596_800 * 10**6  # microseconds of 0001-01-01


# columns that are computed once, and that no column of a file can be called
NUMBER, INTEGER, UNIT, ISO, WRITTEN, MICROS, DAY_FIRST, MONTH_FIRST = (
    name(INTERNAL + part)
    for part in (
        *("number", "integer", "unit", "ISO 8601", "written", "micros"),
        *("day first", "month first"),
    )
)


@dataclasses.dataclass(frozen=True)
class TimeColumns:
    """SQL of the three staged columns, and of whether a time could be read at all."""

    stamp: str
    unit: str
    other: str
    is_read: str
    layers: tuple[str, ...] = ()
    """Columns that the others are made of, each layer from the one before it."""


ABSENT = TimeColumns("NULL", "NULL", "NULL", "true")


def time_columns(column: str, sql_type: str, rules: Rules) -> TimeColumns:
    """SQL of a time column of some type."""
    if column == "NULL":
        return ABSENT
    if DATED.match(sql_type):
        micros = f"epoch_us({column})"
        is_nano = sql_type == "TIMESTAMP_NS"
        stamp = f"epoch_ns({column})" if is_nano else _of_micros(micros)
        return TimeColumns(stamp, _outside_unit(micros, rules), "NULL", "true")
    if NUMERIC.match(sql_type):
        return _numeric(column, sql_type, rules)
    return _textual(column, rules)


def _numeric(column: str, sql_type: str, rules: Rules) -> TimeColumns:
    is_whole = bool(WHOLE.match(sql_type))
    # 64 bits hold nanoseconds exactly
    layer = f"NULL::BIGINT AS {INTEGER}, {_finite(column)} AS {NUMBER}"
    if is_whole:
        layer = f"try_cast({column} AS BIGINT) AS {INTEGER}, {column} AS {NUMBER}"
    return TimeColumns(
        stamp=_number_stamp(column, is_whole=is_whole),
        unit=UNIT,
        other=_other_seconds(is_whole=is_whole),
        is_read=f"{NUMBER} IS NOT NULL",
        layers=(layer, f"{_number_unit(rules)} AS {UNIT}"),
    )


def _textual(column: str, rules: Rules) -> TimeColumns:
    """Numbers, ISO 8601, or another way to write dates."""
    either = f"coalesce({DAY_FIRST}, {MONTH_FIRST})"
    slashed_unit = f"""CASE WHEN {MONTH_FIRST} IS NULL THEN {times.DAY_FIRST}
        WHEN {DAY_FIRST} IS NULL THEN {times.MONTH_FIRST}
        WHEN {DAY_FIRST} <> {MONTH_FIRST} THEN {times.DAY_OR_MONTH} END"""
    unit = f"""CASE WHEN {NUMBER} IS NOT NULL THEN {_number_unit(rules)}
        WHEN {MICROS} IS NOT NULL THEN {_outside_unit(MICROS, rules)}
        WHEN {either} IS NOT NULL
        THEN coalesce({_outside_unit(either, rules)}, {slashed_unit}) END AS {UNIT}"""
    number_stamp = _number_stamp(column, is_whole=False)
    return TimeColumns(
        stamp=f"""CASE WHEN {NUMBER} IS NOT NULL THEN {number_stamp}
            ELSE {_of_micros(f"coalesce({MICROS}, {either})")} + {_nanoseconds(column)} END""",
        unit=UNIT,
        other=f"""CASE WHEN {NUMBER} IS NOT NULL THEN {_other_seconds(is_whole=False)}
            WHEN {MICROS} IS NULL THEN {_of_micros(MONTH_FIRST)} END""",
        is_read=f"({NUMBER} IS NOT NULL OR {MICROS} IS NOT NULL OR {either} IS NOT NULL)",
        layers=(*_text_layers(column), unit),
    )


def _text_layers(column: str) -> tuple[str, ...]:
    """Each way to read a text is tried only where the ones before it failed."""
    # with a time zone, so that an offset counts; without one the session says UTC
    iso = f"CASE WHEN {NUMBER} IS NULL AND {_has_year(column)} THEN {_cast(column)} END"
    is_open = f"{NUMBER} IS NULL AND {ISO} IS NULL"
    written = f"CASE WHEN {is_open} THEN {rewritten(f'trim({column})')} END"
    micros = f"epoch_us(coalesce({ISO}, {_dated(WRITTEN)}))"
    return (
        f"{_whole(column)} AS {INTEGER}, {_finite(column)} AS {NUMBER}",
        f"{iso} AS {ISO}",
        f"{written} AS {WRITTEN}",
        f"{micros} AS {MICROS}",
        _slashed_layer(),
    )


def _whole(column: str) -> str:
    # a cast to whole numbers would round
    return f"CASE WHEN NOT contains({column}, '.') THEN try_cast({column} AS BIGINT) END"


def _slashed_layer() -> str:
    """Dates with the day or the month first, where nothing else could be read."""
    unread = f"CASE WHEN {NUMBER} IS NULL AND {MICROS} IS NULL THEN epoch_us(try_strptime("
    # 31-01-2020 and 31/01/2020, 10:00 need no formats of their own
    slashed = f"replace(replace(trim({WRITTEN}), '-', '/'), ',', '')"
    day_first = f"{unread}{slashed}, {_list(times.DAY_FIRST_FORMATS)})) END"
    month_first = f"{unread}{slashed}, {_list(times.MONTH_FIRST_FORMATS)})) END"
    return f"{day_first} AS {DAY_FIRST}, {month_first} AS {MONTH_FIRST}"


def _cast(value: str) -> str:
    return f"try_cast(trim({value}) AS TIMESTAMPTZ)"


def _has_year(value: str) -> str:
    """SQL of whether a text may name its year first: 01/02/20 is no day of the first year."""
    return f"NOT regexp_matches(trim({value}), '^([0-9]{{1,3}}[-/])[0-9]')"


def _dated(value: str) -> str:
    """A text that names its year, month and day, once it is rewritten."""
    formatted = f"try_strptime({_plain_date(value)}, {_list(times.TEXT_FORMATS)})"
    return f"CASE WHEN {_has_year(value)} THEN coalesce({_cast(value)}, {formatted}) END"


def _plain_date(trimmed: str) -> str:
    """A date without its weekday, commas, brackets and the name of a zone behind its offset."""
    without = f"regexp_replace({trimmed}, {text(_NO_PART_OF_A_DATE)}, '', 'g')"
    offset = f"regexp_replace({without}, ' GMT([+-])', ' \\1')"
    return f"regexp_replace({offset}, '[, ]+', ' ', 'g')"


def _nanoseconds(column: str) -> str:
    """What the seventh to ninth digit of a second in a text add to its microseconds."""
    digits = f"regexp_extract({column}, '[.,][0-9]{{6}}([0-9]{{1,3}})', 1)"
    return f"CASE WHEN strlen({column}) > 26 THEN rpad({digits}, 3, '0')::BIGINT ELSE 0 END"


def seconds(stamp: str) -> str:
    """Whole unix seconds of nanoseconds; the division must round down, and be exact."""
    nano = times.NANO
    return f"(({stamp} - (({stamp} % {nano}) + {nano}) % {nano}) // {nano})::BIGINT"


def _number_unit(rules: Rules) -> str:
    ranges: dict[int, list[str]] = {}
    for notation, low, end in times.number_ranges(rules):
        within = f"{NUMBER} >= {low!r} AND {NUMBER} < {end!r}"
        ranges.setdefault(notation, []).append(within)
    branches = "".join(f" WHEN {' OR '.join(of)} THEN {code}" for code, of in ranges.items())
    unknown = f"WHEN {NUMBER} IN (0, -1) THEN {times.ZERO}"
    return f"CASE {branches} {unknown} WHEN {NUMBER} IS NOT NULL THEN {times.OUTSIDE} END"


def _number_stamp(column: str, *, is_whole: bool) -> str:
    """Nanoseconds of a number in its notation; of one outside of the years as seconds."""
    formats = _list(tuple(times.COMPACT_FORMATS.values()))
    digits = f"split_part(trim(({column})::VARCHAR), '.', 1)"
    # a spreadsheet keeps fractions of a day, good to a millisecond
    days = f"({NUMBER} - {times.SPREADSHEET_EPOCH})::DOUBLE"
    branches = {
        **{unit: _scaled(1000 ** (3 - unit), is_whole=is_whole) for unit in range(4)},
        times.TICKS: f"({INTEGER} - {times.TICKS_EPOCH}) * 100",
        times.COMPACT: f"epoch_us(try_strptime({digits}, {formats})) * 1000",
        times.SPREADSHEET: f"round({days} * {times.DAY_SECONDS * 1000})::BIGINT * 1000000",
    }
    whens = "".join(f" WHEN {unit} THEN {value}" for unit, value in branches.items())
    return f"CASE {UNIT} {whens} ELSE {_plain_seconds(is_whole=is_whole)} END"


def _plain_seconds(*, is_whole: bool) -> str:
    scaled = _scaled(times.NANO, is_whole=is_whole)
    # abs() of the smallest integer of a type would overflow
    return f"CASE WHEN {NUMBER} > -{_LARGEST} AND {NUMBER} < {_LARGEST} THEN {scaled} END"


def _other_seconds(*, is_whole: bool) -> str:
    """Plain seconds of numbers that are dates or days, should most of the table be no dates."""
    is_date = f"{UNIT} IN ({times.COMPACT}, {times.SPREADSHEET})"
    return f"CASE WHEN {is_date} THEN {_plain_seconds(is_whole=is_whole)} END"


def _scaled(factor: int, *, is_whole: bool) -> str:
    """Nanoseconds; a float of seconds is good to a microsecond, beyond that are rounding errors."""
    if is_whole:
        return f"{INTEGER} * {factor}"
    micros = f"round({NUMBER} * {factor / 1000!r})::BIGINT * 1000"
    return f"CASE WHEN {INTEGER} IS NOT NULL THEN {INTEGER} * {factor} ELSE {micros} END"


def _finite(column: str) -> str:
    number = f"try_cast({column} AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def _of_micros(micros: str) -> str:
    return f"CASE WHEN abs({micros}) < {_LARGEST * 10**6} THEN {micros} * 1000 END"


def _outside_unit(micros: str, rules: Rules) -> str:
    """NULL for a date within the years."""
    first, end = (bound * 10**6 for bound in times.bounds(rules))
    is_unknown = f"{micros} IN (0, {_YEAR_ONE})"
    return f"""CASE WHEN {is_unknown} THEN {times.UNKNOWN_DATE}
        WHEN {micros} < {first} OR {micros} >= {end} THEN {times.OUTSIDE_DATE} END"""


def _list(formats: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(text, formats)) + "]"
