"""Tables of any length to parquet or JSON lines, in constant memory, whole or not at all."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np

from socialrec_jax.errors import DiskError, InputMissing, UsageError
from socialrec_jax.runtime.run import replacing

_FORMATS = {".parquet": "(format parquet, compression zstd)", ".jsonl": "(format json)"}


class TableWriter:
    """Collects columns chunk by chunk in a temporary DuckDB file."""

    def __init__(self, database: duckdb.DuckDBPyConnection):
        self.database, self.rows = database, 0

    def write(self, **columns: np.ndarray) -> None:
        """Append one chunk: columns [n] of equal length, the same names and types in every chunk.

        Strings as numpy's fixed-width type, which DuckDB takes for an enum: hence the cast. Of
        object arrays it would ask pandas, which is not there, value by value.
        """
        select = ", ".join(
            f'"{n}"::varchar as "{n}"' if v.dtype.kind == "U" else f'"{n}"'
            for n, v in columns.items()
        )
        self.database.register("chunk", columns)
        verb = "insert into result" if self.rows else "create table result as"
        self.database.execute(f"{verb} select {select} from chunk")
        self.database.unregister("chunk")
        self.rows += len(next(iter(columns.values())))


@contextlib.contextmanager
def table_writer(path: Path) -> Iterator[TableWriter]:
    """A writer whose rows appear as `path` (.parquet or .jsonl) when the block ends well.

    Raises UsageError for another suffix, InputMissing where the folder does not exist, DiskError
    without room.
    """
    check_output(path)
    try:
        with (
            tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch,
            duckdb.connect(str(Path(scratch) / "rows.duckdb")) as database,
        ):
            writer = TableWriter(database)
            yield writer
            if not writer.rows:
                raise UsageError("there is nobody to write about: the list of users is empty")
            with replacing(path) as temporary:
                database.execute(f"copy result to '{_quoted(temporary)}' {_FORMATS[path.suffix]}")
    except (OSError, duckdb.IOException) as error:
        raise DiskError(f"cannot write {path}: {error}") from error


def check_output(path: Path) -> None:
    """Raise before any work is done when path cannot be written."""
    if path.suffix not in _FORMATS:
        raise UsageError(f"--out {path} must end in {' or '.join(_FORMATS)}")
    if not path.parent.is_dir():
        raise InputMissing(f"the folder {path.parent} of --out does not exist")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
