"""Fields as SQL: the clean value of a raw column, and when it makes its row unusable."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from socialrec_jax.data.prepare.engines.duckdb.sql import INTERNAL, name, text
from socialrec_jax.data.prepare.engines.duckdb.types import DATED, FLOATING, STRING, WHOLE
from socialrec_jax.data.prepare.schema import MISSING, Kind

# as they are spelled, for to fold a million ids would cost more than to look them up
_MISSING_IDS = (
    *("", "NULL", "null", "Null", "NA", "na", "N/A", "n/a", "<NA>", "#N/A", "nan", "NaN", "NAN"),
    *("None", "none", "NONE", "nil", "\\N", "undefined", "(null)"),
)
# blanks of all widths, zero-width letters and the byte order mark, which copying from pages leaves
_INVISIBLE = (9, 10, 13, 32, 160, 5760, 8203, 8204, 8205, 8288, 12288, 65279)
# flags as programs and as people write them
_TRUE = ("true", "t", "yes", "y", "1", "1.0", "in stock", "instock", "available", "on", "active")
_FALSE = (
    *("false", "f", "no", "n", "0", "0.0", "out of stock", "outofstock", "sold out", "off"),
    *("unavailable", "not available", "inactive"),
)
_EXACT_BELOW = {"FLOAT": 2**24, "DOUBLE": 2**53}  # whole numbers of floats
# spreadsheets show six digits of ten; programs write as many as the number has
_ROUNDED_TIME = "^[0-9]([.][0-9]{0,5})?E[+][0-9]+$"
# A longer id is a broken line. One of a megabyte would make every table of ids as wide.
# currencies of a thousand parts: 1.299 of them is a price
_MILLS = "(?i)KWD|BHD|OMR|JOD|TND|LYD|IQD|KD|BD|DT"
MAX_ID_BYTES = 1024
MAX_TEXT = 65_536  # characters of a text that are kept


@dataclasses.dataclass(frozen=True)
class Check:
    """A row that meets `condition` is bad: `reason` says what is wrong with its column."""

    column: str
    value: str  # SQL of the raw value
    condition: str  # SQL
    reason: str


def value_sql(kind: Kind, column: str, sql_type: str) -> str:
    """SQL for the clean value of `column`, NULL where it is blank or bad."""
    match kind:
        case "id":
            return id_sql(column, sql_type)
        case "number" | "price":
            return _number_sql(kind, column, sql_type)
        case "flag":
            return _flag_sql(column)
        case "label":
            return f"{column}::VARCHAR"
        case "list":
            return _text_sql(column, sql_type, "|")
        case _:
            return _text_sql(column, sql_type, " ")


def _flag_sql(column: str) -> str:
    lower = f"lower(trim({column}::VARCHAR))"
    true, false = _list(_TRUE), _list(_FALSE)
    # how many pieces lie in stock
    number = f"try_cast({lower} AS DOUBLE)"
    has_some = f"CASE WHEN isfinite({number}) THEN {number} > 0 END"
    return f"""CASE WHEN {lower} IN {true} THEN true WHEN {lower} IN {false} THEN false
        ELSE {has_some} END"""


def id_sql(column: str, sql_type: str) -> str:
    """An id without what cannot be seen around it; 5.0 is written by programs that mean 5.

    Letters with accents have one form (NFC), so that ids that look the same are the same.
    """
    # a typed number has nothing around it
    if WHOLE.match(sql_type):
        return f"{column}::VARCHAR"
    if FLOATING.match(sql_type):
        # 17 digits of a float are not an id any more
        whole = f"try_cast({column} AS HUGEINT)"
        return f"CASE WHEN {column} = {whole} THEN {whole}::VARCHAR ELSE {column}::VARCHAR END"
    plain = f"{column}::VARCHAR"
    ends = " OR ".join(f"suffix({plain}, {end})" for end in ("' '", "chr(9)", "chr(13)"))
    invisible = text("".join(map(chr, _INVISIBLE)))
    # few ids need to be looked at letter by letter
    is_odd = f"{plain} < '!' OR strlen({plain}) <> length({plain}) OR {ends}"
    whole = f"suffix({plain}, '0') AND regexp_matches({plain}, '^ *-?[0-9]+[.]0+$')"
    return f"""CASE WHEN {whole} THEN split_part(trim({plain}), '.', 1)
        WHEN {is_odd} THEN trim(nfc_normalize({plain}), {invisible}) ELSE {plain} END"""


def id_layer(field: str, column: str, sql_type: str) -> str:
    """The id as a column that is computed once."""
    return f"{id_sql(column, sql_type)} AS {id_name(field)}"


def id_name(field: str) -> str:
    return name(INTERNAL + field)


def checks_of(kind: Kind, field: str, column: str, sql_type: str) -> list[Check]:
    """When `column` makes its row unusable as `field`; blank values are bad only in ids."""
    if kind == "id":
        conditions = _id_conditions(id_name(field), sql_type)
        if sql_type in _EXACT_BELOW:
            # beyond it, several ids are one float
            is_inexact = f"abs({column}) > {_EXACT_BELOW[sql_type]}"
            conditions.append((is_inexact, f"is more than a {sql_type} holds exactly"))
    else:
        conditions = _value_conditions(kind, column, value_sql(kind, column, sql_type))
    return [Check(field, column, condition, reason) for condition, reason in conditions]


def time_checks(field: str, column: str, sql_type: str, is_read: str) -> list[Check]:
    """When `column` is no time. is_read: SQL of whether some notation fits."""
    number = f"try_cast({column} AS DOUBLE)"
    infinite = "false" if DATED.match(sql_type) else f"NOT (isfinite({number}))"
    if DATED.match(sql_type):
        infinite = f"NOT (isfinite({column}))"
    # to look at numbers as text would cost more than to read them
    missing = _is_missing(column) if STRING.match(sql_type) else f"{column} IS NULL"
    unreadable = f"NOT {missing} AND NOT {is_read}"
    rounded = "false"
    if STRING.match(sql_type):
        rounded = f"contains({column}, 'E+') AND regexp_matches(trim({column}), '{_ROUNDED_TIME}')"
    return [
        Check(field, column, infinite, "is not finite"),
        Check(field, column, rounded, "was rounded by a spreadsheet"),
        Check(field, column, unreadable, "is neither unix time nor ISO 8601"),
    ]


def _value_conditions(kind: Kind, column: str, value: str) -> list[tuple[str, str]]:
    """(SQL condition, reason) pairs for values that may be blank."""
    unreadable = f"NOT {_is_missing(column)} AND ({value}) IS NULL"
    if kind == "flag":
        return [(unreadable, "is neither true nor false")]
    if kind == "price":
        # many tools write NaN for a price that they do not know
        return [(f"isinf({value})", "is not finite")]
    if kind == "number":
        return [(unreadable, "is not a number"), (f"isinf({value})", "is not finite")]
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
    # an item may be without a vector, but not with half of one
    no_list = f"NOT {_is_missing(quoted)} AND {vector} IS NULL"
    not_finite = f"len(list_filter({vector}, x -> x IS NULL OR NOT isfinite(x))) > 0"
    return [
        Check(column, quoted, no_list, "is not a list of numbers"),
        Check(column, quoted, not_finite, "holds numbers that are not finite"),
    ]


def _is_blank(column: str) -> str:
    return f"({column} IS NULL OR trim({column}::VARCHAR) = '')"


def _is_missing(column: str) -> str:
    """Blank, or a word for it."""
    return f"({_is_blank(column)} OR lower(trim({column}::VARCHAR)) IN {_list(MISSING)})"


def _id_conditions(value: str, sql_type: str) -> list[tuple[str, str]]:
    # no whole number is a word for nothing
    if WHOLE.match(sql_type):
        return [(f"{value} IS NULL", "is blank")]
    missing = f"({value} IS NULL OR {value} IN {_list(_MISSING_IDS)})"
    conditions = [(missing, "is blank")]
    # JSON may hold an object where the other rows have an id
    if sql_type == "MIXED":
        conditions.append((f"left({value}, 1) IN ('[', '{{')", "is a list or an object"))
    if not FLOATING.match(sql_type):
        # both would cut the id in files of one id a line, and in C strings
        conditions.append((f"contains({value}, chr(10))", "holds a line break"))
        conditions.append((f"contains({value}, chr(0))", "holds a NUL byte"))
        # 1.23457E+12 stands for many ids
        is_rounded = f"contains({value}, 'E+') AND regexp_matches({value}, '^[0-9.,]+E[+][0-9]+$')"
        conditions.append((is_rounded, "was rounded by a spreadsheet"))
        too_long = f"strlen({value}) > {MAX_ID_BYTES}"
        conditions.append((too_long, f"is longer than {MAX_ID_BYTES} bytes"))
    return conditions


def _number_sql(kind: Kind, column: str, sql_type: str) -> str:
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
    return f"CASE WHEN {decimal_comma} THEN {with_point} ELSE {plain} END"


def price_sql(column: str) -> str:
    """The first number of a text as text with a decimal point, blank where there is none."""
    number = f"regexp_extract({column}, '-?[0-9][0-9.,'' ]*')"
    digits = f"rtrim(regexp_replace({number}, '[ '']', '', 'g'), '.,')"
    # a comma is decimal where it comes last, and one or two digits follow
    is_comma = f"regexp_matches({digits}, ',[0-9]{{1,2}}$')"
    # beside a currency, three digits after a point are thousands, for few have a third decimal
    several = f"regexp_matches({digits}, '^-?[0-9]{{1,3}}([.][0-9]{{3}}){{2,}}$')"
    one = f"regexp_matches({digits}, '^-?[1-9][0-9]{{0,2}}[.][0-9]{{3}}$')"
    has_mills = f"regexp_matches({column}, '{_MILLS}')"
    thousands = f"({several} OR ({one} AND NOT {has_mills}))"
    return f"""CASE WHEN {is_comma} THEN replace(replace({digits}, '.', ''), ',', '.')
        WHEN {thousands} THEN replace({digits}, '.', '') ELSE replace({digits}, ',', '') END"""


def _list(words: Sequence[str]) -> str:
    return "(" + ", ".join(map(text, words)) + ")"


def _text_sql(column: str, sql_type: str, separator: str) -> str:
    """Plain text, or the texts of a list joined by the separator, up to a bound."""
    joined = _joined_sql(column, sql_type, separator)
    # what databases and dataframes write for nothing; `Nan` and `None` may be titles
    return f"left(nullif(nullif(nullif({joined}, '\\N'), 'NULL'), 'nan'), {MAX_TEXT})"


def _joined_sql(column: str, sql_type: str, separator: str) -> str:
    # parquet has typed lists, JSON lists come as text
    if sql_type.endswith("[]"):
        return f"array_to_string({column}::VARCHAR[], '{separator}')"
    if STRING.match(sql_type) and sql_type != "MIXED" and separator == "|":
        return _written_list_sql(column, separator)
    if sql_type not in ("ARRAY", "MIXED"):
        return f"{column}::VARCHAR"
    # categories of Amazon are lists of lists: their words are joined alike
    return f"""CASE WHEN starts_with({column}, '[') AND json_valid({column})
        THEN array_to_string(
            CASE WHEN starts_with({column}, '[[')
            THEN {column}->>'$[*][*]' ELSE {column}->>'$[*]' END, '{separator}')
        ELSE {column} END"""


def _written_list_sql(column: str, separator: str) -> str:
    """Text, or the parts of a list that a table without list types holds as text."""
    plain = f"{column}::VARCHAR"
    # dataframes write lists as Python or JSON does; objects in a list are no tags
    is_list = f"starts_with({plain}, '[') AND NOT starts_with({plain}, '[{{')"
    parts = f"array_to_string(try_cast({plain} AS VARCHAR[]), '{separator}')"
    return f"CASE WHEN {is_list} THEN coalesce({parts}, {plain}) ELSE {plain} END"


MISSING_SQL = _list(MISSING)
