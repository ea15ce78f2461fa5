"""Tables of any length to parquet, CSV or JSON lines, in constant memory, whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from socialrec_jax.errors import BadData, DiskError, InputMissing, UsageError
from socialrec_jax.files import replacing

TEXT_SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz")
_ROWS_A_GROUP = 1 << 17  # of a parquet file

# A file without rows is more often a mistake than an answer.
NOTHING_TO_WRITE = "nothing to write: the input has no rows, or no item is left to recommend"


def check_output(path: Path) -> None:
    """Raise before any work is done when path cannot be written.

    UsageError for an unknown suffix, InputMissing where the folder does not exist.
    """
    if not path.name.endswith((".parquet", *TEXT_SUFFIXES)):
        raise UsageError(
            f"--out {path} must end in .parquet, {', '.join(TEXT_SUFFIXES)}; recommend and profile "
            "also write a folder, which has no suffix"
        )
    if not path.parent.is_dir():
        raise InputMissing(f"the folder {path.parent} of --out does not exist")


def write_tables(path: Path, tables: Iterable[pa.Table]) -> int:
    """Write a stream of tables of one schema to path, as its suffix says; the number of rows.

    The file appears when all is written. Raises as `check_output`, BadData where there is no row
    at all, DiskError without room.
    """
    check_output(path)
    write = _writer_of(path)
    with _replacing(path) as temporary:
        rows = write(temporary, iter(tables))
        # The temporary file is deleted with the error, so that nothing is left.
        if not rows:
            raise BadData(NOTHING_TO_WRITE)
        return rows


def _writer_of(path: Path) -> Callable[[Path, Iterator[pa.Table]], int]:
    if path.suffix == ".parquet":
        return _write_parquet
    return _write_csv if path.name.endswith((".csv", ".csv.gz")) else _write_json_lines


def write_shard(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write a stream of tables of one schema to a parquet file, which may have no rows.

    The file appears when all is written. Raises DiskError without room.
    """
    with _replacing(path) as temporary:
        _write_parquet(temporary, iter(tables))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """The same as `replacing`, with a DiskError where writing fails."""
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error}") from error


def _write_parquet(path: Path, tables: Iterator[pa.Table]) -> int:
    """Row groups of a fixed size, however long the tables are."""
    first = next(tables)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        waiting, rows = first, first.num_rows
        for table in tables:
            rows += table.num_rows
            # No copy: a table is a list of chunks.
            waiting = pa.concat_tables([waiting, table])
            while waiting.num_rows >= _ROWS_A_GROUP:
                writer.write_table(waiting.slice(0, _ROWS_A_GROUP))
                waiting = waiting.slice(_ROWS_A_GROUP)
        writer.write_table(waiting)
    return rows


def _write_csv(path: Path, tables: Iterator[pa.Table]) -> int:
    """Texts in quotes, so that an empty one differs from a missing one, which is an empty field."""
    first = next(tables)
    rows = 0
    with _text_file(path) as file, pcsv.CSVWriter(file, _flat(first).schema) as writer:
        for table in itertools.chain([first], tables):
            rows += table.num_rows
            writer.write_table(_flat(table))
    return rows


def _flat(table: pa.Table) -> pa.Table:
    """The table with lists and structs as JSON texts, for CSV has neither."""
    short = with_short_floats(table)
    columns = [_json_texts(c) if pa.types.is_nested(c.type) else c for c in short.columns]
    return pa.table(columns, names=table.column_names)


def _json_texts(column: pa.ChunkedArray) -> pa.Array:
    texts = [None if value is None else _json(value) for value in column.to_pylist()]
    return pa.array(texts, pa.string())


def _write_json_lines(path: Path, tables: Iterator[pa.Table]) -> int:
    rows = 0
    with _text_file(path) as file:
        for table in tables:
            rows += table.num_rows
            lines = [_json(row) + "\n" for row in with_short_floats(table).to_pylist()]
            file.write("".join(lines).encode())
    return rows


def _text_file(path: Path) -> pa.NativeFile:
    """A file to write to, compressed where its name ends in .gz."""
    return pa.output_stream(path, compression="detect")


def _json(value: Any) -> str:
    # Texts of any language stay readable, and no blanks: files of many users are large.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def with_short_floats(table: pa.Table) -> pa.Table:
    """float32 columns as the float64 with the fewest digits: 0.1 rather than 0.10000000149.

    What is no number is null, for JSON has no NaN.
    """
    columns = [_with_short_digits(column.combine_chunks()) for column in table.columns]
    return pa.table(columns, names=table.column_names)


def _with_short_digits(column: Any) -> pa.Array:
    """The same for a column, also within lists and structs."""
    kind = column.type
    if pa.types.is_float32(kind):
        # Arrow prints a float32 with the fewest digits that give it back.
        shortest = column.cast(pa.string()).cast(pa.float64())
        is_number = pc.call_function("is_finite", [shortest])
        return pc.call_function("if_else", [is_number, shortest, pa.scalar(None, pa.float64())])
    if pa.types.is_list(kind):
        values = _with_short_digits(column.flatten())
        # flatten leaves out what a missing list holds, so its length is 0.
        lengths = pc.call_function("list_value_length", [column]).fill_null(0)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=column.is_null())
    if pa.types.is_struct(kind):
        fields = [_with_short_digits(field) for field in column.flatten()]
        names = [field.name for field in kind]
        return pa.StructArray.from_arrays(fields, names=names, mask=column.is_null())
    return column
