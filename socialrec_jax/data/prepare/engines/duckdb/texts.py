"""Texts and lists of texts as SQL."""

from __future__ import annotations

import re

from socialrec_jax.data.prepare.engines.duckdb.sql import is_one_of, text
from socialrec_jax.data.prepare.engines.duckdb.types import STRING

MAX_TEXT = 65_536  # characters of a text that are kept
_NAME_IN_OBJECT = """['"]name['"]: *("[^"]*"|'[^']*')"""
_NAMED_STRUCT = re.compile(r'STRUCT\(([^(]*, )?"?name"? VARCHAR')
# the ampersand last, or &amp;lt; would become a tag
_ENTITIES = {
    **{"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#34;": '"', "&#39;": "'", "&#x27;": "'"},
    **{"&apos;": "'", "&nbsp;": " ", "&#160;": " ", "&amp;": "&", "&#38;": "&"},
}
_QUOTES = """'\""""
# texts that are empty; `None`, `-` and `Missing` may be titles
_MISSING_TEXTS = ("\\N", "NULL", "null", "nan", "NaN", "N/A", "n/a", "<NA>", "#N/A")


def text_sql(column: str, sql_type: str, separator: str) -> str:
    """Plain text, or the texts of a list joined by the separator, up to a bound."""
    joined = _joined_sql(column, sql_type, separator)
    # what databases and dataframes write for nothing; `Nan` and `None` may be titles
    if separator == " ":
        joined = _without_markup(joined)
    given = f"CASE WHEN NOT {is_one_of(joined, _MISSING_TEXTS)} THEN {joined} END"
    return f"left({given}, {MAX_TEXT})"


def _without_markup(column: str) -> str:
    """Text without tags of HTML and with the letters that its entities stand for."""
    plain = f"regexp_replace({column}, '</?[a-zA-Z][^<>]*>', ' ', 'g')"
    for entity, letter in _ENTITIES.items():
        plain = f"replace({plain}, {text(entity)}, {text(letter)})"
    plain = f"trim(regexp_replace({plain}, ' +', ' ', 'g'))"
    # most texts have neither, and a cheap look tells
    has_markup = f"regexp_matches({column}, '<[/a-zA-Z][^<>]*>|&[#a-z0-9]+;')"
    has_letter = f"contains({column}, '<') OR contains({column}, '&')"
    return f"CASE WHEN ({has_letter}) AND {has_markup} THEN {plain} ELSE {column} END"


def _joined_sql(column: str, sql_type: str, separator: str) -> str:
    # parquet has typed lists, JSON lists come as text
    if sql_type.endswith("[]"):
        # of objects, such as genres of films, the names are the tags
        part = "x.name" if _NAMED_STRUCT.match(sql_type) and separator == "|" else "x"
        texts = f"list_transform({column}, x -> {part}::VARCHAR)"
        return f"array_to_string({texts}, '{separator}')"
    if STRING.match(sql_type) and sql_type != "MIXED" and separator == "|":
        return _written_list_sql(column, separator)
    if sql_type not in ("ARRAY", "MIXED"):
        return f"{column}::VARCHAR"
    # categories of Amazon are lists of lists: their words are joined alike
    named = f"{separator == '|'} AND starts_with({column}, '[{{')"
    return f"""CASE WHEN starts_with({column}, '[') AND json_valid({column})
        THEN array_to_string(
            CASE WHEN starts_with({column}, '[[') THEN {column}->>'$[*][*]'
            WHEN {named} AND len({column}->>'$[*].name') > 0 THEN {column}->>'$[*].name'
            ELSE {column}->>'$[*]' END, '{separator}')
        ELSE {column} END"""


def _written_list_sql(column: str, separator: str) -> str:
    """Text, or the parts of a list that a table without list types holds as text."""
    plain = f"{column}::VARCHAR"
    # dataframes write lists as Python or JSON does
    parts = f"array_to_string(try_cast({plain} AS VARCHAR[]), '{separator}')"
    # arrays of PostgreSQL stand in braces, as objects do, which have names
    is_array = f"regexp_full_match({plain}, '[{{][^:]*[}}]')"
    bracketed = f"'[' || substr({plain}, 2, length({plain}) - 2) || ']'"
    of_array = f"array_to_string(try_cast({bracketed} AS VARCHAR[]), '{separator}')"
    named = f"regexp_extract_all({plain}, {text(_NAME_IN_OBJECT)})"
    names = (
        f"list_transform({named}, x -> trim(regexp_replace(x, '^.name.: *', ''), {text(_QUOTES)}))"
    )
    objects = f"nullif(array_to_string({names}, '{separator}'), '')"
    return f"""CASE WHEN starts_with({plain}, '[{{') THEN coalesce({objects}, {plain})
        WHEN starts_with({plain}, '[') THEN coalesce({parts}, {plain})
        WHEN starts_with({plain}, '{{') AND {is_array} THEN coalesce({of_array}, {plain})
        ELSE {plain} END"""
