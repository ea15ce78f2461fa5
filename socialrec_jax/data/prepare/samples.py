"""What a sample of a column's values says: whether it holds numbers, and which one is the time."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

from socialrec_jax.data.prepare.schema import MISSING, Kind

_NUMBER = re.compile(
    r"^[+-]?(\d+([.,]\d*)?|[.,]\d+|\d{1,3}(,\d{3})+([.]\d*)?|\d{1,3}([.]\d{3})+(,\d*)?)"
    r"([eE][+-]?\d+)?$"
)
_FRACTION = re.compile(r"^[+-]?\d*[.,]\d*[1-9]\d*$")
_TWO_DIGITS = re.compile(r"^(\d\d)[-/.](\d\d?)[-/.](\d\d)(?!\d)")
_LIST = re.compile(r"^\[.*\]$|^\w+([;|,]\s?\w+)+$")
_DATE = re.compile(
    r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}$|^\d{1,2}[-/.]\d{1,2}[-/.](\d{2}|\d{4})$|^(19|20)\d{6}$"
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
    """`;`, `,` or one of East Asia that stands between parts that come again, without any `|`.

    A comma inside of a name, as in `Clothing, Shoes`, separates no parts that other values have.
    """
    distinct = set(values)
    if any("|" in value or value.startswith(("[", "{")) for value in distinct):
        return None
    for separator in ";,；，、":
        if _shares_parts(distinct, separator):
            return separator
    return None


def _shares_parts(distinct: set[str], separator: str) -> bool:
    parts = [{part.strip() for part in value.split(separator)} for value in distinct]
    counts = Counter(part for of_value in parts for part in of_value)
    return any(counts[part] > 1 for of_value in parts if len(of_value) > 1 for part in of_value)


@dataclasses.dataclass(frozen=True)
class YearPlace:
    """Where dates such as 20-01-13 have their year, and the years that they name."""

    is_first: bool
    years: range
    others: range | None = None
    """The years by the other reading, where it is possible and the dates do not tell."""


def place_of_year(values: Sequence[str | None], allowed: range) -> YearPlace | None:
    """None where some of the values are no such dates, or the year cannot be their first part.

    allowed: the years that a shop may have.
    """
    given = given_values(values)
    dates = [match for value in given if (match := _TWO_DIGITS.match(value))]
    if not dates or len(dates) < len(given):
        return None
    firsts, months, lasts = ({int(match[part]) for match in dates} for part in (1, 2, 3))
    if not _are_dates(firsts, months, lasts, allowed):
        return None
    if not _are_dates(lasts, months, firsts, allowed):
        return YearPlace(True, _span(firsts))
    # the year hardly changes while the day does; a first part below 10 may be a day of each month
    if min(firsts) >= 10 and _change_more(lasts, firsts):
        return YearPlace(True, _span(firsts), _span(lasts))
    tells = _change_more(firsts, lasts)
    return YearPlace(False, _span(lasts), None if tells else _span(firsts))


def _are_dates(years: set[int], months: set[int], days: set[int], allowed: range) -> bool:
    in_range = all(year in allowed for year in _span(years))
    return max(months) <= 12 and max(days) <= 31 and in_range


def _span(years: set[int]) -> range:
    """From the first to the last of years of two digits, which `strptime` reads so, too."""
    full = [year + (2000 if year < 69 else 1900) for year in years]
    return range(min(full), max(full) + 1)


def _change_more(days: set[int], years: set[int]) -> bool:
    return len(days) > 2 and len(days) > 2 * len(years)
