"""Files as SQL: what DuckDB needs to read a `Source`.

Every kind of file becomes a relation whose rows come in file order, so that a row's position leads
back to its line. Text is read as text; `values.py` says what a field means. DuckDB stores what it
rejects of a text file; `staging.py` reads that before the next file is opened.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import duckdb

from socialrec_jax.data.prepare.engines.duckdb.sql import INTERNAL, name, readable_file, text
from socialrec_jax.data.prepare.readers import (
    Source,
    check_names,
    header_of,
    verify_whole,
)
from socialrec_jax.data.prepare.rules import plain_name
from socialrec_jax.errors import BadData

MAX_DIGITS = 38  # of a decimal
# a column that holds the raw line where it is no JSON object, '' where it is blank
BROKEN = INTERNAL + "broken line"
_IS_OBJECT = "json_valid(line) AND json_type(line) = 'OBJECT'"
# of a key that comes twice, nobody knows which value is meant
_HAS_KEYS_ONCE = "len(json_keys(line)) = list_unique(json_keys(line))"


def columns_of(con: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    """Column name -> DuckDB type.

    JSON columns of lists or objects say ARRAY, OBJECT, or MIXED where plain values occur too.
    """
    with readable_file(source.path):
        verify_whole(source.path, is_text=source.kind != "parquet" and not source.copy)
        if source.kind == "parquet":
            query = f"DESCRIBE SELECT * FROM {_read_parquet(source)}"
            types = {column: kind for column, kind, *_ in con.execute(query).fetchall()}
            check_names(source, list(types))
            _check_parquet(con, source)
        elif source.kind == "json":
            types = _json_columns(con, source)
        else:
            types = dict.fromkeys(header_of(source), "VARCHAR")
    return {**types, **dict.fromkeys(_partition_columns(source, types), "VARCHAR")}


def _check_parquet(con: duckdb.DuckDBPyConnection, source: Source) -> None:
    """BadData: two columns have one name, or hold numbers that DuckDB reads as others."""
    fields = con.execute(
        f"SELECT name, coalesce(num_children, 0), precision FROM parquet_schema({_path(source)})"
    ).fetchall()
    check_names(source, _columns_of_schema([(column, children) for column, children, _ in fields]))
    wide = [column for column, _, digits in fields if (digits or 0) > MAX_DIGITS]
    if wide:
        raise BadData(
            f"{source.path}: column {wide[0]} holds decimals of more than {MAX_DIGITS} digits: "
            "write whole numbers or text"
        )


def _columns_of_schema(fields: Sequence[tuple[str, int]]) -> list[str]:
    """The columns among (name, number of parts), in which parts follow what they belong to."""
    columns, open_parts = [], 0
    # the first is the table itself
    for column, children in fields[1:]:
        if not open_parts:
            columns.append(column)
            open_parts = 1
        open_parts += children - 1
    return columns


def _partition_columns(source: Source, types: Mapping[str, str]) -> list[str]:
    """Columns that folders such as `date=2024-01-01` give, unless the file has them itself."""
    own = {plain_name(column) for column in types}
    return [column for column in source.partitions if plain_name(column) not in own]


def relation(source: Source, columns: Mapping[str, str]) -> str:
    """SQL that yields the file's rows in file order, with `BROKEN` after its own columns."""
    partitions = {c: v for c, v in source.partitions.items() if columns.get(c) == "VARCHAR"}
    own = {column: kind for column, kind in columns.items() if column not in partitions}
    constant = "".join(f", {_constant(value)} AS {name(c)}" for c, value in partitions.items())
    if source.kind == "json":
        rows = _json_relation(source, own)
        return f"(SELECT *{constant} FROM {rows})" if partitions else rows
    if source.kind == "parquet":
        rows = _read_parquet(source)
    else:
        header = f"header={source.has_header}, delim={text(source.delimiter)}"
        rows = _read_csv(source, tuple(own), header)
        # a struct of all columns, because the reader must not leave out any
        if source.all_columns:
            rows = f"(SELECT unnest(cells) FROM (SELECT file AS cells FROM {rows} AS file))"
    return f"(SELECT *{constant}, NULL::VARCHAR AS {name(BROKEN)} FROM {rows})"


def _read_parquet(source: Source) -> str:
    # folder names must not replace the file's own columns
    rows = f"read_parquet({_path(source)}, hive_partitioning=false)"
    if source.unnested is None:
        return rows
    column, field = name(source.unnested.column), source.unnested.field
    parts = f"unnest({column}, max_depth := 2)" if field is None else f"unnest({column}) AS {field}"
    replaced = ", ".join([column, *map(name, source.unnested.replaced)])
    return f"(SELECT * EXCLUDE ({replaced}), {parts} FROM {rows})"


def members_of(con: duckdb.DuckDBPyConnection, source: Source, column: str) -> list[str]:
    """The names of the members of objects in a column of lists."""
    parts = f"SELECT unnest({name(column)}, max_depth := 2) FROM {_read_parquet(source)}"
    return [member for member, *_ in con.execute(f"DESCRIBE {parts}").fetchall()]


def _constant(value: str | None) -> str:
    return "NULL::VARCHAR" if value is None else text(value)


def _json_relation(source: Source, columns: Mapping[str, str]) -> str:
    # every value as text: a column may hold numbers in one line and words in the next
    schema = "{" + ",".join(f'"{_json_name(column)}":"VARCHAR"' for column in columns) + "}"
    fields = "".join(f"{_json_value(column)} AS {name(column)}, " for column in columns)
    return f"""(
        SELECT {fields}
            CASE WHEN fields IS NULL THEN coalesce(trim(line), '') END AS {name(BROKEN)}
        FROM (
            SELECT line,
                CASE WHEN {_IS_OBJECT} AND {_HAS_KEYS_ONCE} THEN from_json(line, {text(schema)})
                END AS fields
            FROM {_raw_lines(source)}
        )
    )"""


def _json_columns(con: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    objects = f"(SELECT line FROM {_raw_lines(source)} WHERE {_IS_OBJECT})"
    keys = con.execute(
        f"""
        SELECT DISTINCT key FROM (
            SELECT unnest(keys) AS key FROM (SELECT DISTINCT json_keys(line) AS keys FROM {objects})
        ) WHERE key <> '' AND key >= ' ' ORDER BY key
        """
    ).fetchall()
    if not keys:
        raise BadData(
            f"{source.path}: no line is a JSON object in UTF-8: write one object a line; another "
            "encoding is named by --data.encoding"
        )
    # SQL does not tell `User` from `user`: the first of them stays
    first = {key.lower(): key for (key,) in reversed(keys)}
    names = sorted(first.values())
    return dict(zip(names, _json_types(con, objects, names), strict=True))


def _json_types(con: duckdb.DuckDBPyConnection, objects: str, keys: Sequence[str]) -> list[str]:
    """The type of each column, see `columns_of`."""
    pointers = "[" + ", ".join(text(_json_pointer(key)) for key in keys) + "]"
    # `$oid` and `$date` wrap plain values
    kind = "CASE WHEN x[1] = 'OBJECT' AND starts_with(x[2][1], '$') THEN 'WRAPPED' ELSE x[1] END"
    # few lines differ in their types, so most is done once for all that are alike
    kinds = con.execute(
        f"""
        SELECT place, list(DISTINCT kind) FROM (
            SELECT unnest(kinds) AS kind, generate_subscripts(kinds, 1) AS place FROM (
                SELECT DISTINCT list_transform(
                    list_zip(json_type(line, {pointers}), json_keys(line, {pointers})), x -> {kind}
                ) AS kinds FROM {objects}
            )
        ) WHERE kind <> 'NULL' GROUP BY place
        """
    ).fetchall()
    of_place = dict(kinds)
    return [_json_type(of_place.get(place, [])) for place in range(1, len(keys) + 1)]


def _json_pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _json_type(kinds: list[str]) -> str:
    nested = [kind for kind in kinds if kind in ("ARRAY", "OBJECT")]
    if not nested:
        return "VARCHAR"
    return nested[0] if nested == kinds else "MIXED"


def _json_value(column: str) -> str:
    """A value as text; of an object such as {"$date": {"$numberLong": "5"}} what it wraps."""
    value = f"struct_extract(fields, {text(column)})"
    inner = f"json_extract_string({value}, '$.*')[1]"
    return f"""CASE WHEN starts_with({value}, '{{"$') THEN
        CASE WHEN starts_with({inner}, '{{"$') THEN json_extract_string({inner}, '$.*')[1]
        ELSE {inner} END ELSE {value} END"""


def _json_name(column: str) -> str:
    return column.replace("\\", "\\\\").replace('"', '\\"')


def _raw_lines(source: Source) -> str:
    """Whole lines as column `line`: the delimiter is a byte that text does not hold."""
    # without quotes, for those of JSON must not join lines
    plain = dataclasses.replace(source, quote="")
    return _read_csv(plain, ("line",), f"header=false, delim={text(chr(1))}")


def _read_csv(source: Source, columns: tuple[str, ...], options: str) -> str:
    # all columns as text: DuckDB would take 007 for the number 7
    schema = "{" + ", ".join(f"{text(column)}: 'VARCHAR'" for column in columns) + "}"
    quote, escape = text(source.quote), text(source.escape or source.quote)
    skip = 0 if source.expansion else source.skip
    return (
        f"read_csv({_path(source)}, columns={schema}, {options}, "
        f"quote={quote}, escape={escape}, encoding={text(source.encoding)}, "
        f"compression={text(_compression(source))}, hive_partitioning=false, skip={skip}, "
        "auto_detect=false, store_rejects=true)"
    )


def _path(source: Source) -> str:
    """The file's path, in which `*`, `?` and `[` stand for themselves."""
    return text(re.sub(r"([*?[])", r"[\1]", str(source.content)))


def _compression(source: Source) -> str:
    """DuckDB knows suffixes in lower case only."""
    return {".gz": "gzip", ".zst": "zstd"}.get(source.content.suffix.lower(), "none")
