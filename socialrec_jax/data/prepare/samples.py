"""What a sample of a column's values says: whether it holds numbers, and which one is the time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from socialrec_jax.data.prepare.schema import MISSING, Kind

_NUMBER = re.compile(
    r"^[+-]?(\d+([.,]\d*)?|[.,]\d+|\d{1,3}(,\d{3})+([.]\d*)?|\d{1,3}([.]\d{3})+(,\d*)?)"
    r"([eE][+-]?\d+)?$"
)
_FRACTION = re.compile(r"^[+-]?\d*[.,]\d*[1-9]\d*$")
_TWO_DIGITS = re.compile(r"^(\d\d)[-/.](\d\d)[-/.](\d\d)(?!\d)")
_LIST = re.compile(r"^\[.*\]$|^\w+([;|,]\s?\w+)+$")
_DATE = re.compile(
    r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}$|^\d{1,2}[-/.]\d{1,2}[-/.]\d{4}$|^(19|20)\d{6}$"
)
_CLOCK = re.compile(r"^\d{1,2}(:\d{2}){1,2}([.]\d+)?( ?[AaPp][Mm])?$")
_CLOCK_DIGITS = re.compile(r"^([01]?\d|2[0-3])[0-5]\d([0-5]\d)?$")
_INSTANT = re.compile(r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}[T ]|^\d{9,19}([.]\d*)?$|\d:\d{2}")


def given_values(values: Sequence[str | None]) -> list[str]:
    """The values that are not blank, nor a word for it."""
    stripped = [(value or "").strip() for value in values]
    return [value for value in stripped if value and value.lower() not in MISSING]


def first_that_does_not_fit(kind: Kind, values: Sequence[str | None]) -> str | None:
    """None where most of the given values are what an optional field needs.

    Those of a number are numbers, those of a label are no fractions.
    """
    given = given_values(values)
    if kind == "number":
        odd = [value for value in given if not _NUMBER.match(value)]
    else:
        # 0.5 is a measure, no name of a type
        odd = [value for value in given if kind == "label" and _FRACTION.match(value)]
    # a single word may be a mistake in a sparse column
    return odd[0] if len(odd) > 1 and 2 * len(odd) > len(given) else None


def lists_among(values: Sequence[str | None]) -> str | None:
    """An example, where most of the given values are lists such as `1;2;3` rather than ids."""
    given = given_values(values)
    lists = [value for value in given if _LIST.match(value)]
    return lists[0] if 2 * len(lists) > len(given) else None


def kind_of_time(values: Sequence[str | None]) -> str:
    """What most of the values are: instant, date, clock (the time of a day), digits or other.

    digits: 1305 or 130500, which are times of the day only beside a date.

    An instant that is the same in all rows is a `constant`: the day of an export, not of an event.
    """
    given = given_values(values)
    patterns = {"clock": _CLOCK, "date": _DATE, "instant": _INSTANT, "digits": _CLOCK_DIGITS}
    for kind, pattern in patterns.items():
        matching = sum(bool(pattern.search(value)) for value in given)
        if given and 2 * matching > len(given):
            return "constant" if len(given) > 1 and len(set(given)) == 1 else kind
    return "other"


def choose_time(kinds: dict[str, str], hour: str | None) -> tuple[str, ...]:
    """The column that holds the time; two of them: a date and the time of the day.

    kinds: candidate -> `kind_of_time`, in the order of their synonyms. hour: a column of hours.
    """
    by_kind: dict[str, list[str]] = {}
    for column, kind in kinds.items():
        by_kind.setdefault(kind, []).append(column)
    if "instant" in by_kind:
        return (by_kind["instant"][0],)
    dates = by_kind.get("date", by_kind.get("constant", []))
    clocks = [*by_kind.get("clock", []), *([hour] if hour else []), *by_kind.get("digits", [])]
    if dates and clocks:
        return dates[0], clocks[0]
    # a clock alone tells no day
    for kind in ("date", "other", "digits", "constant", "clock"):
        if kind in by_kind:
            return (by_kind[kind][0],)
    return ()


def digits_of_clock(values: Sequence[str | None]) -> int:
    """4 where times of the day are hours and minutes, 6 where they have seconds."""
    return 6 if any(len(value) > 4 for value in given_values(values)) else 4


def separator_of_lists(values: Sequence[str]) -> str | None:
    """`;` or `,` where it stands between parts that come again, and no value holds `|`.

    A comma inside of a name, as in `Clothing, Shoes`, separates no parts that other values have.
    """
    distinct = set(values)
    if any("|" in value or value.startswith("[") for value in distinct):
        return None
    for separator in (";", ","):
        if _shares_parts(distinct, separator):
            return separator
    return None


def _shares_parts(distinct: set[str], separator: str) -> bool:
    parts = [{part.strip() for part in value.split(separator)} for value in distinct]
    counts = Counter(part for of_value in parts for part in of_value)
    return any(counts[part] > 1 for of_value in parts if len(of_value) > 1 for part in of_value)


def begin_with_year(values: Sequence[str | None]) -> bool:
    """Whether dates such as 20-01-13 name the year first.

    Then the first part hardly changes while the last one does. A date that repeats a day of each
    month or year looks alike, so the first part must be a year of 2010 at least.
    """
    given = given_values(values)
    dates = [match for value in given if (match := _TWO_DIGITS.match(value))]
    if not dates or len(dates) < len(given):
        return False
    years, days = ({int(match[part]) for match in dates} for part in (1, 3))
    is_possible = min(years) >= 10 and max(days) <= 31
    return is_possible and len(days) > 2 and len(days) > 2 * len(years)
