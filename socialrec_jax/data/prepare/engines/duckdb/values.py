"""Fields as SQL: the clean value of a raw column, and when it makes its row unusable."""

from __future__ import annotations

from collections.abc import Sequence

from socialrec_jax.data.prepare.engines.duckdb.numbers import number_sql
from socialrec_jax.data.prepare.engines.duckdb.sql import INTERNAL, is_one_of, name, sql_list, text
from socialrec_jax.data.prepare.engines.duckdb.texts import text_sql
from socialrec_jax.data.prepare.engines.duckdb.types import DATED, FLOATING, STRING, WHOLE
from socialrec_jax.data.prepare.engines.statements.checks import Check
from socialrec_jax.data.prepare.schema import MISSING, Kind

# as they are spelled: folding a million ids would cost more than looking them up
_SPELLINGS = (str.lower, str.upper, str.capitalize, str.title)
_MISSING_IDS = sorted(
    {"", "NaN", "NaT", *(spell(word) for word in MISSING for spell in _SPELLINGS)}
)
# marks of the direction of writing
_DIRECTIONS = (8206, 8207, *range(8234, 8239), *range(8294, 8298))
# blanks of all widths, zero-width letters and the byte order mark, which copying from pages leaves
_INVISIBLE = (9, 10, 13, 32, 160, 173, 5760, 8203, 8204, 8205, 8288, 12288, 65279, *_DIRECTIONS)
# flags as programs and as people write them
_TRUE = (
    *("true", "t", "yes", "y", "1", "1.0", "in stock", "instock", "available", "on", "active"),
    *("ja", "oui", "si", "sí", "sim", "in-stock", "enabled", "low stock", "limited"),
    *("preorder", "pre-order", "presale", "backorder", "back-order", "onbackorder"),
    *("limitedavailability", "instoreonly", "onlineonly", "madetoorder", "reserved"),
)
_FALSE = (
    *("false", "f", "no", "n", "0", "0.0", "out of stock", "outofstock", "sold out", "off"),
    *("unavailable", "not available", "inactive", "discontinued", "nein", "non", "não"),
    *("soldout", "sold-out", "out-of-stock", "disabled"),
)
_EXACT_BELOW = {"FLOAT": 2**24, "DOUBLE": 2**53}  # whole numbers of floats
# spreadsheets show six digits of ten; programs write as many as the number has
_ROUNDED_TIME = "^[0-9]([.][0-9]{0,5})?[eE][+][0-9]+$"
# A longer id is a broken line. One of a megabyte would make every table of ids as wide.
MAX_ID_BYTES = 1024
_JAVA_FLOAT = "^-?[1-9][.][0-9]+E([7-9]|1[0-5])$"
_PROTECTED = """^(?:="([^"]*)"|'([0-9]+))$"""


def value_sql(kind: Kind, column: str, sql_type: str) -> str:
    """SQL for the clean value of `column`, NULL where it is blank or bad."""
    match kind:
        case "id":
            return id_sql(column, sql_type)
        case "number" | "price":
            return number_sql(kind, column, sql_type)
        case "flag":
            return _flag_sql(column)
        case "label":
            return f"{column}::VARCHAR"
        case "list":
            return text_sql(column, sql_type, "|")
        case _:
            return text_sql(column, sql_type, " ")


def _flag_sql(column: str) -> str:
    # in_stock, and the addresses that schema.org gives its words
    spaced = f"replace(trim({column}::VARCHAR), '_', ' ')"
    lower = f"lower(regexp_replace({spaced}, '^https?://schema[.]org/', ''))"
    is_true, is_false = is_one_of(lower, _TRUE), is_one_of(lower, _FALSE)
    # how many pieces lie in stock
    number = f"try_cast({lower} AS DOUBLE)"
    has_some = f"CASE WHEN isfinite({number}) THEN {number} > 0 END"
    return f"CASE WHEN {is_true} THEN true WHEN {is_false} THEN false ELSE {has_some} END"


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
    whole = f"suffix({plain}, '0') AND regexp_matches({plain}, '^ *-?[0-9]+([.]0+|,00?)$')"
    # 12345678 as Java writes a float of it
    is_java = f"contains({plain}, '.') AND regexp_matches({plain}, {text(_JAVA_FLOAT)})"
    java = f"try_cast({plain} AS DOUBLE)"
    is_whole = f"CASE WHEN {is_java} THEN {java} = floor({java}) ELSE false END"
    # spreadsheets keep leading zeros by ="007" or '007
    is_formula = f"""(starts_with({plain}, '="') OR starts_with({plain}, chr(39)))"""
    protected = f"""regexp_replace({plain}, {text(_PROTECTED)}, '\\1\\2')"""
    return f"""CASE WHEN {whole} THEN split_part(replace(trim({plain}), ',', '.'), '.', 1)
        WHEN {is_whole} THEN {java}::HUGEINT::VARCHAR
        WHEN {is_formula} THEN {protected}
        WHEN {is_odd} THEN trim(nfc_normalize({plain}), {invisible}) ELSE {plain} END"""


def layer(kind: Kind, field: str, column: str, sql_type: str) -> str:
    """The clean value as a column that is computed once."""
    return f"{value_sql(kind, column, sql_type)} AS {layer_name(field)}"


def layer_name(field: str) -> str:
    return name(INTERNAL + field)


def checks_of(kind: Kind, field: str, column: str, sql_type: str) -> list[Check]:
    """When `column` makes its row unusable as `field`; blank values are bad only in ids.

    The clean value must be a `layer`.
    """
    if kind == "id":
        conditions = _id_conditions(layer_name(field), sql_type)
        if sql_type in _EXACT_BELOW:
            # beyond it, several ids are one float
            is_inexact = f"abs({column}) > {_EXACT_BELOW[sql_type]}"
            conditions.append((is_inexact, f"is more than a {sql_type} holds exactly"))
    else:
        conditions = _value_conditions(kind, column, layer_name(field))
    return [Check(field, column, condition, reason) for condition, reason in conditions]


def time_checks(field: str, column: str, sql_type: str, is_read: str) -> list[Check]:
    """When `column` is no time. is_read: SQL of whether some notation fits."""
    number = f"try_cast({column} AS DOUBLE)"
    infinite = "false" if DATED.match(sql_type) else f"NOT (isfinite({number}))"
    if DATED.match(sql_type):
        infinite = f"NOT (isfinite({column}))"
    # to look at numbers as text would cost more than to read them
    missing = _is_unknown_time(column) if STRING.match(sql_type) else f"{column} IS NULL"
    # most times are read, and need no look at words for nothing
    unreadable = f"CASE WHEN {is_read} THEN false ELSE NOT {missing} END"
    rounded = "false"
    if STRING.match(sql_type):
        # a sign is looked for first, because most times have none
        rounded = f"contains({column}, '+') AND regexp_matches(trim({column}), '{_ROUNDED_TIME}')"
    return [
        Check(field, column, infinite, "is not finite"),
        Check(field, column, rounded, "was rounded by a spreadsheet"),
        Check(field, column, unreadable, "is neither unix time nor ISO 8601"),
    ]


def _is_unknown_time(column: str) -> str:
    # MySQL writes an unknown date as zeros
    return f"({_is_missing(column)} OR starts_with(trim({column}), '0000-00-00'))"


def _value_conditions(kind: Kind, column: str, value: str) -> list[tuple[str, str]]:
    """(SQL condition, reason) pairs for values that may be blank."""
    # most values are read, and need no look at words for nothing
    unreadable = f"CASE WHEN {value} IS NOT NULL THEN false ELSE NOT {_is_missing(column)} END"
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
    folded = f"lower(trim({column}::VARCHAR))"
    return f"({_is_blank(column)} OR {is_one_of(folded, MISSING)})"


def _id_conditions(value: str, sql_type: str) -> list[tuple[str, str]]:
    # no whole number is a word for nothing
    if WHOLE.match(sql_type):
        return [(f"{value} IS NULL", "is blank")]
    missing = f"({value} IS NULL OR {is_one_of(value, _MISSING_IDS)})"
    conditions = [(missing, "is blank")]
    # JSON may hold an object where the other rows have an id
    if sql_type == "MIXED":
        conditions.append((f"left({value}, 1) IN ('[', '{{')", "is a list or an object"))
    if not FLOATING.match(sql_type):
        # both would cut the id in files of one id a line, and in C strings
        conditions.append((f"contains({value}, chr(10))", "holds a line break"))
        conditions.append((f"contains({value}, chr(0))", "holds a NUL byte"))
        conditions += _rounded_conditions(value)
        too_long = f"strlen({value}) > {MAX_ID_BYTES}"
        conditions.append((too_long, f"is longer than {MAX_ID_BYTES} bytes"))
    return conditions


def _rounded_conditions(value: str) -> list[tuple[str, str]]:
    """When an id is a float that stands for several."""
    # 1.23457E+12 of a spreadsheet
    pattern = "^[0-9.,]+[eE][+][0-9]+$"
    is_rounded = f"contains({value}, '+') AND regexp_matches({value}, '{pattern}')"
    # of 16 digits and more, a float of Java holds some
    inexact = "^[1-9][.][0-9]+E(1[6-9]|[2-9][0-9])$"
    is_inexact = f"contains({value}, '.') AND regexp_matches({value}, '{inexact}')"
    return [
        (is_rounded, "was rounded by a spreadsheet"),
        (is_inexact, "is more than a DOUBLE holds exactly"),
    ]


MISSING_SQL = sql_list(MISSING)
