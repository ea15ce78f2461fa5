"""Files as SQL: one `Source` a file, and what DuckDB must be told to read it.

Every kind of file becomes a relation whose rows come in file order, so that a row's position leads
back to its line. Text is read as text; `tables.py` decides what a field means.

The relations ask DuckDB to store what it rejects; `rejects.py` reads that before the next file is
opened.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import zlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Literal

import duckdb

from socialrec_jax.data.prepare.archives import verify
from socialrec_jax.errors import BadData, DiskError, InputMissing

Kind = Literal["parquet", "text", "json"]
KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".csv": "text",
    ".tsv": "text",
    ".jsonl": "json",
    ".json": "json",
}
# a column that holds the raw line where it is no JSON object, '' where it is blank
BROKEN = "broken line"


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One file, and how its fields are told apart."""

    path: Path
    kind: Kind
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None
    """Column names that replace the header, or stand for a missing one; None: the header's own."""
    has_header: bool = True
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Field name -> SQL over the file's columns, where a synonym is not enough."""


def source_of(path: Path) -> Source | None:
    """How a file is read by its suffix; None for a suffix that we do not know."""
    suffix = Path(path.stem).suffix if path.suffix in (".gz", ".zst") else path.suffix
    if suffix not in KINDS:
        return None
    if KINDS[suffix] != "text":
        return Source(path, KINDS[suffix])
    header = first_line(path) if suffix == ".csv" else ""
    return Source(
        path, "text", delimiter="\t" if suffix == ".tsv" else max(",;\t", key=header.count)
    )


def sources_under(path: Path) -> list[Source]:
    """The file, or the part files of a folder in the order of their names; marker and hidden files
    are passed over.
    """
    if not path.exists():
        raise InputMissing(f"{path}: no such file or folder")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [
        file
        for file in files
        if file.is_file() and not any(p[0] in "._" for p in _parts(file, path))
    ]
    sources = [source_of(file) for file in files]
    for file, source in zip(files, sources, strict=True):
        if source is None:
            raise BadData(
                f"{file}: unknown kind of file, expected one of {', '.join(KINDS)} (plain, .gz or .zst)"
            )
    if not sources:
        raise InputMissing(f"{path}: the folder holds no part files")
    return [source for source in sources if source is not None]


def _parts(file: Path, root: Path) -> tuple[str, ...]:
    return file.relative_to(root).parts


def columns_of(con: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    """Column name -> DuckDB type; JSON columns of lists or objects say ARRAY, OBJECT, or MIXED
    beside plain values.
    """
    with one_line(source.path):
        verify(source.path)
        if source.kind == "parquet":
            described = con.execute(
                f"DESCRIBE SELECT * FROM read_parquet({text(source.path)})"
            ).fetchall()
            return {name: kind for name, kind, *_ in described}
        if source.kind == "json":
            return _json_columns(con, source)
    names = source.names or tuple(_header(source))
    if len({column.lower() for column in names}) < len(names) or not all(names):
        raise BadData(f"{source.path}: the header has blank or repeated names: {', '.join(names)}")
    return dict.fromkeys(names, "VARCHAR")


def relation(source: Source, columns: Mapping[str, str]) -> str:
    """SQL that yields the file's rows in file order, with `BROKEN` after its own columns."""
    if source.kind == "parquet":
        return f"(SELECT *, NULL::VARCHAR AS {name(BROKEN)} FROM read_parquet({text(source.path)}))"
    if source.kind == "text":
        header = f"header={source.has_header}, delim={text(source.delimiter)}"
        return f"(SELECT *, NULL::VARCHAR AS {name(BROKEN)} FROM {_read_csv(source, tuple(columns), header)})"
    schema = "{" + ",".join(f'"{_json_name(column)}":"VARCHAR"' for column in columns) + "}"
    parsed = (
        f"SELECT line, CASE WHEN {_IS_OBJECT} THEN from_json(line, {text(schema)}) END AS fields"
    )
    fields = "".join(
        f"struct_extract(fields, {text(column)}) AS {name(column)}, " for column in columns
    )
    broken = f"CASE WHEN fields IS NULL THEN coalesce(trim(line), '') END AS {name(BROKEN)}"
    return f"(SELECT {fields}{broken} FROM ({parsed} FROM {_raw_lines(source)}))"


def name(column: str) -> str:
    """A quoted SQL name."""
    return '"' + column.replace('"', '""') + '"'


def text(value: object) -> str:
    """A quoted SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def first_line(path: Path) -> str:
    """The first line of a text file, empty when there is none."""
    with one_line(path), contextlib.closing(lines(Source(path, "json"))) as found:
        return next(found, "")


def lines(source: Source) -> Generator[str, None, None]:
    """The physical lines of a text file, undecodable bytes replaced."""
    if source.path.suffix == ".zst":  # Python's library reads zstd only from 3.14 on
        with duckdb.connect() as con:
            con.execute(f"SELECT line FROM {_raw_lines(source)}")
            while rows := con.fetchmany(10_000):
                yield from (line or "" for (line,) in rows)
        return
    opener = gzip.open if source.path.suffix == ".gz" else open
    encoding = "utf-8-sig" if source.encoding == "utf-8" else source.encoding
    with opener(source.path, "rt", encoding=encoding, errors="replace", newline="\n") as file:
        yield from (line.rstrip("\r\n") for line in file)


def records(source: Source) -> Iterator[tuple[int, bool]]:
    """(first line, is blank) of each record of a text file; a quoted field may run over several
    lines.
    """
    if source.kind == "json" or not source.quote:
        yield from ((number, not line) for number, line in enumerate(lines(source), 1))
        return
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(
        (line + "\n" for line in lines(source)), delimiter=source.delimiter, quotechar=source.quote
    )
    start = 1
    for record in reader:
        yield start, not record
        start = reader.line_num + 1


@contextlib.contextmanager
def one_line(path: Path) -> Iterator[None]:
    """What DuckDB, zlib or the system says of a file that cannot be read, as one line."""
    try:
        yield
    except (
        duckdb.InvalidInputException,
        duckdb.IOException,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "No space left" in reason:
            raise DiskError(f"the disk is full while reading {path}: {reason}") from error
        raise BadData(f"{path}: cannot be read, is the file whole? ({reason})") from error


def _header(source: Source) -> list[str]:
    first = first_line(source.path)
    if not first.strip():
        raise BadData(f"{source.path}: the file is empty, expected a line of column names")
    if not source.quote:
        return [cell.strip() for cell in first.split(source.delimiter)]
    return [cell.strip() for cell in next(csv.reader([first], delimiter=source.delimiter))]


_IS_OBJECT = "json_valid(line) AND json_type(line) = 'OBJECT'"


def _json_columns(con: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    found = con.execute(
        f"SELECT field.key, list(DISTINCT field.type) FROM (SELECT line FROM {_raw_lines(source)} WHERE {_IS_OBJECT}), "
        "json_each(line) AS field WHERE field.type <> 'NULL' GROUP BY ALL ORDER BY field.key"
    ).fetchall()
    if not found:
        raise BadData(f"{source.path}: no line is a JSON object")
    nested = {key: [kind for kind in kinds if kind in ("ARRAY", "OBJECT")] for key, kinds in found}
    types = {
        key: (nested[key][0] if nested[key] == kinds else "MIXED" if nested[key] else "VARCHAR")
        for key, kinds in found
    }
    unique = {key.lower(): key for key in reversed(types)}  # SQL does not tell `User` from `user`
    return {key: kind for key, kind in types.items() if unique[key.lower()] == key}


def _json_name(column: str) -> str:
    return column.replace("\\", "\\\\").replace('"', '\\"')


def _raw_lines(source: Source) -> str:
    """Whole lines as column `line`: the delimiter is a byte that text does not hold."""
    plain = dataclasses.replace(source, quote="")
    return _read_csv(plain, ("line",), f"header=false, delim={text(chr(1))}")


def _read_csv(source: Source, columns: tuple[str, ...], options: str) -> str:
    schema = "{" + ", ".join(f"{text(column)}: 'VARCHAR'" for column in columns) + "}"
    quote = (
        f"quote={text(source.quote)}, escape={text(source.quote)}, encoding={text(source.encoding)}"
    )
    return f"read_csv({text(source.path)}, columns={schema}, {options}, {quote}, auto_detect=false, store_rejects=true)"
