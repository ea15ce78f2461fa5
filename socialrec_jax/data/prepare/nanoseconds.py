"""Parquet's nanoseconds with a time zone, of which engines read microseconds.

Without the zone they are read whole. They count from 1970 in UTC either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.data.prepare.readers import Source

_WITHOUT_ZONE = pa.timestamp("ns")


def with_nanoseconds(source: Source, copy: Path) -> Source:
    """The source, with a copy without zones where an engine would lose nanoseconds."""
    try:
        file = pq.ParquetFile(source.content)
    # an engine says what is wrong with it
    except (pa.ArrowException, OSError):
        return source
    with file:
        columns = [field.name for field in file.schema_arrow if _has_zone(field.type)]
        if not columns or not _any_finer(file, columns):
            return source
        copy.parent.mkdir(exist_ok=True)
        _write(file, columns, copy)
    return dataclasses.replace(source, copy=copy)


def _has_zone(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.unit == "ns" and kind.tz is not None


def _any_finer(file: pq.ParquetFile, columns: Sequence[str]) -> bool:
    """Whether some time is finer than a microsecond, as few programs write."""
    return any(
        (column.drop_null().cast(pa.int64()).to_numpy() % 1000).any()
        for batch in file.iter_batches(columns=list(columns))
        for column in batch.columns
    )


def _write(file: pq.ParquetFile, columns: Sequence[str], copy: Path) -> None:
    fields = [
        field.with_type(_WITHOUT_ZONE) if field.name in columns else field
        for field in file.schema_arrow
    ]
    schema = pa.schema(fields)
    with pq.ParquetWriter(copy, schema, compression="zstd") as writer:
        for batch in file.iter_batches():
            writer.write_batch(batch.cast(schema))
