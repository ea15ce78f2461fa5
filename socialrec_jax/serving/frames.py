"""Ids to numbers and back, and data frames of events to histories."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.histories import raw_events, read_ids
from socialrec_jax.data.world import Events, World
from socialrec_jax.errors import BadData, UsageError

# A list, a numpy array, or a column of pyarrow, pandas or polars; or a file of ids.
Ids = Path | Iterable[Any]

# A table of pyarrow, pandas or polars, or anything else with `__arrow_c_stream__`; or a path.
Frame = Any


def find_numbers(column: Strings, ids: Ids, kind: Literal["user", "item"]) -> np.ndarray:
    """The numbers [n] int64 of ids. Raises BadData with one line where some are unknown."""
    names = read_ids(ids, kind) if isinstance(ids, Path) else _texts(ids, kind)
    numbers = column.lookup(names)
    # Unknown ids are an error, not fewer rows: they are often a wrong column or file.
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        where = f"{ids}: " if isinstance(ids, Path) else ""
        raise BadData(
            f"{where}{len(unknown)} of {len(names)} {kind} ids are unknown to this run, "
            f"first {names[unknown[0]]!r}"
        )
    return numbers


def _texts(ids: Iterable[Any], kind: str) -> list[str]:
    if isinstance(ids, str):
        raise UsageError(f"{ids!r} is one {kind} id: give a list of ids, or a Path to a file")
    # Columns of pyarrow, pandas and polars have `__array__`; an iterator must be a list first.
    if not hasattr(ids, "__array__"):
        ids = list(ids)
    return [str(name) for name in np.asarray(ids, dtype=object).ravel().tolist()]


def arrow_strings(column: Strings) -> pa.Array:
    """The same column for pyarrow, without a copy of its texts."""
    # Arrow's layout of large strings is the same; None: no text is missing.
    buffers = [None, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
    return pa.Array.from_buffers(pa.large_string(), len(column), buffers)


def read_histories(source: Frame, world: World) -> tuple[Strings, Events]:
    """(user ids, events) of users that the World does not know.

    source: an events table with the columns user, item, timestamp and optionally event_type, as a
    data frame, or a path as for `train.py --data`. Both take the path of training data: the same
    synonyms and checks.
    """
    if isinstance(source, (str, Path)):
        return raw_events(Path(source), world)
    # Through a file, because the readers of training data read files.
    with tempfile.TemporaryDirectory(prefix="histories-") as folder:
        file = Path(folder) / "events.parquet"
        pq.write_table(_table(source), file)
        return raw_events(file, world)


def _table(frame: Frame) -> pa.Table:
    try:
        return pa.table(frame)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"histories are no data frame: {error}") from None
