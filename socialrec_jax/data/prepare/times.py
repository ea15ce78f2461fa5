"""Notations of time, and which one a table speaks.

Numbers name their notation by their size, as long as they lie within the years that a shop may
have: unix time in seconds to nanoseconds, dates written as one number (`20200101`), days of a
spreadsheet. The ranges do not overlap before 2033. A table speaks one notation:
rows in another one than most are bad, as are times outside of the years.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Mapping

from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData

_OUTSIDE_ADVICE = (
    "{}: most timestamps lie outside of the years that a shop may have{}: are they in an unknown "
    "notation or another column (--data.map timestamp=COLUMN)? If they are right, say "
    "--data.first-year and --data.last-year; without times say --data.order file"
)
_OWN_CLOCK_NOTE = (
    "%s: timestamps run from %d to %d, which are no dates: read as seconds of their own clock"
)
log = logging.getLogger(__name__)
NANO = 10**9
DAY_SECONDS = 86_400
SPREADSHEET_EPOCH = 25_569  # days from 1899-12-30, which spreadsheets count from, to 1970

# codes of notations; a time that speaks for itself, such as ISO 8601, has none
COMPACT, SPREADSHEET = 4, 5  # 0..3: seconds, milli-, micro-, nanoseconds
TICKS = 6  # of 100 nanoseconds since the year 1, as .NET counts them
TICKS_EPOCH = 621_355_968 * 10**9  # ticks of 1970
DAY_FIRST, MONTH_FIRST, DAY_OR_MONTH = 20, 21, 22  # 31/12/2020, 12/31/2020, 01/02/2020
OUTSIDE, ZERO, OUTSIDE_DATE = 90, 91, 92  # a number or a date beyond the years; 0 or -1
UNKNOWN_DATE = 93  # the first moment of 1970 or of the year 1, which programs write for none
SLASHED = (DAY_FIRST, MONTH_FIRST, DAY_OR_MONTH)
# dates as one number: how many digits, and strptime's name of them
COMPACT_FORMATS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f"),
    *(" %I:%M %p", " %I:%M:%S %p", " %I:%M%p", " %I:%M:%S%p"),
)
# two digits of a year go before four, because %Y takes 20 for the year 20
_DATES = (
    *("%d.%m.%y", "%d.%m.%Y", "%Y.%m.%d", "%Y%m%d", "%d-%b-%y", "%d-%b-%Y", "%m %d %Y"),
    *("%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y"),
)
# of texts without commas, double blanks and names of weekdays
TEXT_FORMATS = (
    *("%b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z", "%d %b %Y %H:%M:%S %z"),
    *("%b %d %Y %H:%M:%S %z", "%b %d %H:%M:%S %Y", "%d-%b-%y %I.%M.%S.%f %p"),
    *("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p", "%Y-%m-%d %H", "%Y-%m"),
    *("%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S", "%Y-%m-%dT%H", "%Y%m%d %H%M%S", "%Y%m%d %H"),
    *(date + clock for date in _DATES for clock in CLOCKS),
)
YEARS = ("%y", "%Y")  # 20 would be the year 20
DAY_FIRST_FORMATS = tuple("%d/%m/" + year + clock for year in YEARS for clock in CLOCKS)
MONTH_FIRST_FORMATS = tuple("%m/%d/" + year + clock for year in YEARS for clock in CLOCKS)

# a clock of its own counts seconds from about 0, as in made-up tables and logs without dates
OWN_CLOCK = (-1_000, 1_000, 100_000_000)  # smallest and largest begin, largest end


def bounds(rules: Rules) -> tuple[int, int]:
    """Unix seconds of the first moment that a shop may have, and of the first one after it."""
    years = rules.first_year, rules.last_year + 1
    first, end = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in years)
    return int(first.timestamp()), int(end.timestamp())


def for_world(rules: Rules, world: World) -> Rules:
    """Rules for tables that come to a World: their times are of its clock."""
    times = world.events.times
    # A World is of one notation, so any of its events tells.
    own_clock = len(times) > 0 and int(times[0]) < bounds(rules)[0]
    return dataclasses.replace(rules, own_clock=own_clock)


def number_ranges(rules: Rules) -> list[tuple[int, float, float]]:
    """(notation, smallest number, end) of each range of numbers, in the order of precedence."""
    first, end = bounds(rules)
    # before nanoseconds, of which ticks of today are the spring of 1990
    ranges = [(TICKS, first * 10**7 + TICKS_EPOCH, end * 10**7 + TICKS_EPOCH)]
    ranges += [(unit, first * 1000**unit, end * 1000**unit) for unit in range(4)]
    for digits in COMPACT_FORMATS:
        year = 10 ** (digits - 4)
        ranges.append((COMPACT, rules.first_year * year, (rules.last_year + 1) * year))
    first_day, end_day = first / DAY_SECONDS, end / DAY_SECONDS
    shift = SPREADSHEET_EPOCH
    return [*ranges, (SPREADSHEET, first_day + shift, end_day + shift)]


@dataclasses.dataclass(frozen=True)
class Decision:
    """What the times of a table mean."""

    notation: int | None = None  # rows of other notations are bad; None: nothing to choose from
    own_clock: bool = False  # numbers are seconds from about 0
    month_first: bool = False  # 01/02/2020 is the second of January


def decide(
    table: str,
    counts: Mapping[int | None, int],
    smallest: int | None,
    largest: int | None,
    own_clock: bool = False,
) -> Decision:
    """counts: rows by notation, None for times that speak for themselves.

    smallest, largest: of the numbers outside of the years, in nanoseconds; None: beyond 64 bits.
    own_clock: the table comes to a World with a clock of its own.
    BadData: the times are dates that no shop has, or dates whose day and month are not clear.
    """
    outside = sum(counts.get(code, 0) for code in (OUTSIDE, ZERO, OUTSIDE_DATE))
    not_dated = (OUTSIDE, ZERO, OUTSIDE_DATE, UNKNOWN_DATE)
    inside = {code: n for code, n in counts.items() if code not in not_dated}
    if own_clock:
        return Decision(notation=OUTSIDE, own_clock=True)
    if outside > sum(inside.values()):
        _check_own_clock(table, smallest, largest, counts)
        return Decision(notation=OUTSIDE, own_clock=True)

    numbers = {c: n for c, n in inside.items() if c is not None and c not in SLASHED}
    # ties go to the smaller code, whatever the order of rows
    most_frequent = max(numbers, key=lambda code: (numbers[code], -code), default=None)
    return Decision(most_frequent, month_first=_is_month_first(table, counts))


def _check_own_clock(
    table: str, smallest: int | None, largest: int | None, counts: Mapping[int | None, int]
) -> None:
    low, high, end = (bound * NANO for bound in OWN_CLOCK)
    if smallest is None or largest is None or counts.get(OUTSIDE_DATE):
        raise BadData(_OUTSIDE_ADVICE.format(table, ""))
    if not (low <= smallest < high and largest < end):
        shown = f" (as unix seconds {smallest // NANO} to {largest // NANO})"
        raise BadData(_OUTSIDE_ADVICE.format(table, shown))
    log.warning(_OWN_CLOCK_NOTE, table, smallest // NANO, largest // NANO)


def _is_month_first(table: str, counts: Mapping[int | None, int]) -> bool:
    if not counts.get(DAY_OR_MONTH):
        return False
    day_first, month_first = counts.get(DAY_FIRST, 0), counts.get(MONTH_FIRST, 0)
    # every date could be read both ways, or some only one way and some only the other
    if bool(day_first) == bool(month_first):
        raise BadData(
            f"{table}: dates such as 01/02/2020 do not say which is the day and which the month: "
            "write them as 2020-02-01"
        )
    return bool(month_first)
