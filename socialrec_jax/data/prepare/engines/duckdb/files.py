"""Files as SQL: what DuckDB needs to read a `Source`.

Every kind of file becomes a relation whose rows come in file order, so that a row's position leads
back to its line. Text is read as text; `values.py` says what a field means. DuckDB stores what it
rejects of a text file; `staging.py` reads that before the next file is opened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import duckdb

from socialrec_jax.data.prepare.engines.duckdb.sql import FILE_ERRORS, name, text
from socialrec_jax.data.prepare.readers import (
    Constant,
    Derived,
    FirstNumber,
    FlaggedColumns,
    Replaced,
    Source,
    header_of,
    readable,
    verify_whole,
)
from socialrec_jax.errors import BadData

# a column that holds the raw line where it is no JSON object, '' where it is blank
BROKEN = "broken line"
_IS_OBJECT = "json_valid(line) AND json_type(line) = 'OBJECT'"


def columns_of(con: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    """Column name -> DuckDB type.

    JSON columns of lists or objects say ARRAY, OBJECT, or MIXED where plain values occur too.
    """
    with readable(source.path, *FILE_ERRORS):
        verify_whole(source.path)
        if source.kind == "parquet":
            query = f"DESCRIBE SELECT * FROM read_parquet({text(source.path)})"
            return {column: kind for column, kind, *_ in con.execute(query).fetchall()}
        if source.kind == "json":
            return _json_columns(con, source)
    return dict.fromkeys(header_of(source), "VARCHAR")


def relation(source: Source, columns: Mapping[str, str]) -> str:
    """SQL that yields the file's rows in file order, with `BROKEN` after its own columns."""
    if source.kind == "json":
        return _json_relation(source, columns)
    if source.kind == "parquet":
        rows = f"read_parquet({text(source.path)})"
    else:
        header = f"header={source.has_header}, delim={text(source.delimiter)}"
        rows = _read_csv(source, tuple(columns), header)
    return f"(SELECT *, NULL::VARCHAR AS {name(BROKEN)} FROM {rows})"


def derived_sql(derived: Derived) -> str:
    """SQL over a file's columns for a field that is made of them."""
    match derived:
        case Constant(value):
            return text(value)
        case Replaced(column, old, new):
            return f"replace({name(column)}, {text(old)}, {text(new)})"
        case FlaggedColumns(columns):
            named = [f"CASE {name(column)} WHEN '1' THEN {text(column)} END" for column in columns]
            return f"concat_ws('|', {', '.join(named)})"
        case FirstNumber(column):
            digits = rf"regexp_extract(replace({name(column)}, ',', ''), '\d+(\.\d+)?')"
            return f"coalesce(try_cast({digits} AS FLOAT)::VARCHAR, '')"


def _json_relation(source: Source, columns: Mapping[str, str]) -> str:
    # every value as text: a column may hold numbers in one line and words in the next
    schema = "{" + ",".join(f'"{_json_name(column)}":"VARCHAR"' for column in columns) + "}"
    fields = "".join(
        f"struct_extract(fields, {text(column)}) AS {name(column)}, " for column in columns
    )
    return f"""(
        SELECT {fields}
            CASE WHEN fields IS NULL THEN coalesce(trim(line), '') END AS {name(BROKEN)}
        FROM (
            SELECT line,
                CASE WHEN {_IS_OBJECT} THEN from_json(line, {text(schema)}) END AS fields
            FROM {_raw_lines(source)}
        )
    )"""


def _json_columns(con: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    keys = con.execute(
        f"""
        SELECT field.key, list(DISTINCT field.type)
        FROM (SELECT line FROM {_raw_lines(source)} WHERE {_IS_OBJECT}), json_each(line) AS field
        WHERE field.type <> 'NULL' GROUP BY ALL ORDER BY field.key
        """
    ).fetchall()
    if not keys:
        raise BadData(f"{source.path}: no line is a JSON object")

    types = {key: _json_type(kinds) for key, kinds in keys}
    # SQL does not tell `User` from `user`: the first of them stays
    first = {key.lower(): key for key in reversed(types)}
    return {key: kind for key, kind in types.items() if first[key.lower()] == key}


def _json_type(kinds: list[str]) -> str:
    nested = [kind for kind in kinds if kind in ("ARRAY", "OBJECT")]
    if not nested:
        return "VARCHAR"
    return nested[0] if nested == kinds else "MIXED"


def _json_name(column: str) -> str:
    return column.replace("\\", "\\\\").replace('"', '\\"')


def _raw_lines(source: Source) -> str:
    """Whole lines as column `line`: the delimiter is a byte that text does not hold."""
    plain = dataclasses.replace(source, quote="")
    return _read_csv(plain, ("line",), f"header=false, delim={text(chr(1))}")


def _read_csv(source: Source, columns: tuple[str, ...], options: str) -> str:
    schema = "{" + ", ".join(f"{text(column)}: 'VARCHAR'" for column in columns) + "}"
    quote = text(source.quote)
    return (
        f"read_csv({text(source.path)}, columns={schema}, {options}, "
        f"quote={quote}, escape={quote}, encoding={text(source.encoding)}, "
        "auto_detect=false, store_rejects=true)"
    )
