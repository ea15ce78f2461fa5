"""Numbers and prices as SQL."""

from __future__ import annotations

from socialrec_jax.data.prepare.engines.duckdb.types import STRING
from socialrec_jax.data.prepare.schema import Kind

# currencies of a thousand parts: 1.299 of them is a price
_MILLS = "(?i)KWD|BHD|OMR|JOD|TND|LYD|IQD|KD|BD|DT"
_SIGNS = "$€£¥₹₽₩₫₺₴₪฿₱₦"
_BLANKS = " \u00a0\u2009\u202f\u2019"  # between thousands


def number_sql(kind: Kind, column: str, sql_type: str) -> str:
    """A number or a price of any column, NULL where there is none."""
    plain = f"try_cast({column} AS FLOAT)"
    if STRING.match(sql_type):
        plain = _written_number_sql(kind, column, plain)
    # dataframes write NaN for a number that is not known
    return f"nullif({plain}, 'nan'::FLOAT)"


def _written_number_sql(kind: Kind, column: str, plain: str) -> str:
    # a price may have a currency beside it; a plain number is tried first, as most are
    if kind == "price":
        return f"coalesce({plain}, try_cast({price_sql(column)} AS FLOAT))"
    # 4,5 is four and a half in many countries; 1.234,5 and 1,234.5 have both signs
    decimal_comma = f"regexp_matches(trim({column}), '^[+-]?[0-9]+,[0-9]+$')"
    with_point = f"try_cast(replace({column}, ',', '.') AS FLOAT)"
    return f"coalesce({plain}, CASE WHEN {decimal_comma} THEN {with_point} END)"


def price_sql(column: str) -> str:
    """The first number of a text as text with a decimal point, blank where there is none.

    One beside the sign of a currency goes before others, as in `500 g € 3.50`.
    """
    first = f"-?[0-9][0-9.,''{_BLANKS}]*"
    beside = f"regexp_extract({column}, '{first}[{_SIGNS}]|[{_SIGNS}] ?{first}')"
    found = f"coalesce(nullif({beside}, ''), regexp_extract({column}, '{first}'))"
    # .99 behind a currency is a fraction, but Rs.500 is not
    is_fraction = f"regexp_matches({column}, '^([^0-9]*[^0-9\\pL])?[.][0-9]')"
    number = f"CASE WHEN {is_fraction} THEN '0.' || {found} ELSE {found} END"
    digits = f"rtrim(regexp_replace({number}, '[''{_BLANKS}{_SIGNS}]', '', 'g'), '.,')"
    # a comma is decimal where it comes last, and one or two digits follow
    is_comma = f"regexp_matches({digits}, ',[0-9]{{1,2}}$')"
    # beside a currency, three digits after a point are thousands, for few have a third decimal
    several = f"regexp_matches({digits}, '^-?[0-9]{{1,3}}([.][0-9]{{3}}){{2,}}$')"
    one = f"regexp_matches({digits}, '^-?[1-9][0-9]{{0,2}}[.][0-9]{{3}}$')"
    has_mills = f"regexp_matches({column}, '{_MILLS}')"
    thousands = f"({several} OR ({one} AND NOT {has_mills}))"
    return f"""CASE WHEN {is_comma} THEN replace(replace({digits}, '.', ''), ',', '.')
        WHEN {thousands} THEN replace({digits}, '.', '') ELSE replace({digits}, ',', '') END"""
