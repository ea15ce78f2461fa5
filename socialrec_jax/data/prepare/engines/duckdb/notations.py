"""How the numbers and lists of a column are written, where one value does not tell."""

from __future__ import annotations

import logging
import re

from socialrec_jax.data.prepare import samples
from socialrec_jax.data.prepare.derived import ClockColumns, ClockDigits, Joined
from socialrec_jax.data.prepare.engines.duckdb.sampling import Choice, SampledFile
from socialrec_jax.data.prepare.engines.duckdb.sql import name
from socialrec_jax.data.prepare.rules import Rules
from socialrec_jax.data.prepare.schema import TABLES

log = logging.getLogger(__name__)
_SEPARATED = "%s: column %s is read as lists of parts between %r"
_THOUSANDS = "%s: column %s: commas are read as thousands, as in 1,000"
_YEARS = "%s: column %s: dates such as %r are read as %s%s"
_POINTS = re.compile(r"[+-]?[0-9]{1,3}([.][0-9]{3}){2,}(,[0-9]*)?")
_COMMA_NUMBER = re.compile(r"[0-9]{5,},[0-9]+")


def note_notations(file: SampledFile, table: str, choice: Choice, rules: Rules) -> None:
    """Note the columns with decimal commas, and those of lists without `|`, in the choice."""
    columns = {
        field: column
        for field in TABLES[table]
        if file.is_text(column := choice.columns.get(field.name)) and column is not None
    }
    sampled = file.sample(list(columns.values())) if columns else {}
    for field, column in columns.items():
        # blanks and words for nothing say nothing of a notation
        values = samples.given_values(sampled[column])
        if field.kind == "list":
            _note_separator(file, column, values, choice)
        else:
            _note_commas(file, field.kind, column, values, choice)
        if field.kind == "time":
            _note_year(file, column, values, choice, rules)
    _note_year_of_joined(file, choice, rules)


def _note_year_of_joined(file: SampledFile, choice: Choice, rules: Rules) -> None:
    """The same of a date that has the time of the day beside it."""
    made = choice.derived.get("timestamp")
    if not isinstance(made, Joined | ClockColumns | ClockDigits):
        return
    date = made.columns_used[0]
    if file.is_text(date):
        values = samples.given_values(file.sample([date])[date])
        _note_year(file, date, values, choice, rules)


def _note_year(
    file: SampledFile, column: str, values: list[str], choice: Choice, rules: Rules
) -> None:
    """Note a column of dates such as 20-01-13 whose first part is the year."""
    place = samples.place_of_year(values, range(rules.first_year, rules.last_year + 1))
    if place is None:
        return
    if place.is_first:
        choice.years_first.add(column)
    if place.is_first or place.others is not None:
        parts = "year, month and day" if place.is_first else "day, month and year"
        log.warning(_YEARS, file.source.path, column, values[0], parts, _other_reading(place))


def _other_reading(place: samples.YearPlace) -> str:
    """How the user says that the year stands elsewhere."""
    if place.others is None:
        return ""
    advice = f"; if the year comes {'last' if place.is_first else 'first'}, write its four digits"
    # a bound that the years of this reading pass, and those of the other one do not
    if place.years[0] < place.others[0]:
        advice += f", or say --data.first-year {place.others[0]}"
    elif place.years[-1] > place.others[-1]:
        advice += f", or say --data.last-year {place.others[-1]}"
    return advice


def _note_commas(
    file: SampledFile, kind: str, column: str, values: list[str], choice: Choice
) -> None:
    """Note what commas mean in numbers."""
    if _has_decimal_commas(file, kind, column, values):
        choice.decimal_commas.add(column)
    elif kind == "number" and any("," in value for value in values):
        _note_thousands(file, column, choice)


def _has_decimal_commas(file: SampledFile, kind: str, column: str, values: list[str]) -> bool:
    if kind == "time":
        return bool(values) and all(_COMMA_NUMBER.fullmatch(value) for value in values)
    # 1.299.000 has thousands behind points, whatever the others have
    if kind == "number" and any(map(_POINTS.fullmatch, values)):
        return True
    # ratings without any comma are not read a second time
    if kind == "price" or (kind == "number" and any("," in value for value in values)):
        return _writes_decimal_commas(file, column)
    return False


def _writes_decimal_commas(file: SampledFile, column: str) -> bool:
    """Whether some values have a decimal comma and none a decimal point.

    Then 1.299 is more than a thousand, which such a value alone does not tell.
    """
    # three digits may be thousands, one or two are a fraction
    comma, point = (
        f"bool_or(regexp_matches({name(column)}, '[0-9]{sign}[0-9]{{1,2}}([^0-9.,]|$)'))"
        for sign in ("[,]", "[.]")
    )
    # the whole column, not a sample: one value decides how all others are read
    return bool(file.select(f"{comma} AND NOT {point}")[0][0])


def _note_thousands(file: SampledFile, column: str, choice: Choice) -> None:
    """Note a column whose commas all stand before three digits, as in 1,000 and 1,299.50."""
    value = f"trim({name(column)})"
    grouped = f"regexp_matches({value}, '^[+-]?[1-9][0-9]{{0,2}}(,[0-9]{{3}})+([.][0-9]*)?$')"
    # 0,125 and 4,5 have a decimal comma
    others = f"count(*) FILTER (contains({value}, ',') AND NOT {grouped})"
    if file.select(f"{others} = 0")[0][0]:
        choice.thousands_commas.add(column)
        log.warning(_THOUSANDS, file.source.path, column)


def _note_separator(file: SampledFile, column: str, values: list[str], choice: Choice) -> None:
    separator = samples.separator_of_lists(values)
    if separator is not None:
        choice.separators[column] = separator
        log.warning(_SEPARATED, file.source.path, column, separator)
