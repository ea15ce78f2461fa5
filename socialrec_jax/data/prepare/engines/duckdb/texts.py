"""Texts and lists of texts as SQL."""

from __future__ import annotations

from socialrec_jax.data.prepare.engines.duckdb.sql import sql_list
from socialrec_jax.data.prepare.engines.duckdb.types import STRING

MAX_TEXT = 65_536  # characters of a text that are kept
# texts that are empty; `None`, `-` and `Missing` may be titles
_MISSING_TEXTS = ("\\N", "NULL", "null", "nan", "NaN", "N/A", "n/a", "<NA>", "#N/A")


def text_sql(column: str, sql_type: str, separator: str) -> str:
    """Plain text, or the texts of a list joined by the separator, up to a bound."""
    joined = _joined_sql(column, sql_type, separator)
    # what databases and dataframes write for nothing; `Nan` and `None` may be titles
    given = f"CASE WHEN {joined} NOT IN {sql_list(_MISSING_TEXTS)} THEN {joined} END"
    return f"left({given}, {MAX_TEXT})"


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
