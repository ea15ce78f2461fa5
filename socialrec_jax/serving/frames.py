"""Ids to numbers and back, and data frames of events to histories."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import Pairs, offsets_of, sorted_distinct
from socialrec_jax.data.prepare import schema
from socialrec_jax.data.prepare.histories import (
    RawHistories,
    read_ids,
    read_raw_histories,
    read_texts,
)
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, InputMissing, UsageError

log = logging.getLogger(__name__)

_SHOWN = 64  # characters of an id in a message

# A list, a numpy array, or a column of pyarrow, pandas or polars; or a file of ids.
Ids = Path | Iterable[Any]

# A table of pyarrow, pandas or polars, or anything else with `__arrow_c_stream__`; or a path.
Frame = Any


def find_numbers(column: Strings, ids: Ids, kind: Literal["user", "item"]) -> np.ndarray:
    """The numbers [n] int64 of ids. BadData: some are unknown, or half of those in a file.

    A file may be older than the run: fewer unknown ids are left out, and counted in the log.
    """
    if not isinstance(ids, Path):
        return _numbers_of(column, _texts(ids, kind), kind, ids)
    names = _distinct(read_ids(ids, kind), ids, kind)
    is_known = column.lookup(names) >= 0
    known = [name for name, is_in_run in zip(names, is_known, strict=True) if is_in_run]
    # most of them unknown: it is another column, or another run's file
    if 2 * len(known) <= len(names):
        return _numbers_of(column, names, kind, ids)
    if len(known) < len(names):
        log.warning("%s: %s; they are left out", ids, _unknown(names, is_known, kind))
    return column.lookup(known)


def _distinct(names: list[str], source: Path, kind: str) -> list[str]:
    """Each name once, in the order of its first place; the log says how many were repeated."""
    distinct = list(dict.fromkeys(names))
    if len(distinct) < len(names):
        repeated = len(names) - len(distinct)
        log.warning("%s: %d %s ids occur once more: each counts once", source, repeated, kind)
    return distinct


def _unknown(names: list[str], is_known: np.ndarray, kind: str) -> str:
    unknown = np.flatnonzero(~is_known)
    return (
        f"{len(unknown)} of {len(names)} {kind} ids are unknown to this run, "
        f"first {_shortened(names[unknown[0]])!r}"
    )


def _shortened(name: str) -> str:
    # A file that is no text has lines of any length.
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."


def _numbers_of(column: Strings, names: list[str], kind: str, source: Any) -> np.ndarray:
    """The numbers of names, which come from source. Raises BadData where some are unknown."""
    numbers = column.lookup(names)
    # Unknown ids are an error, not fewer rows: they are often a wrong column or file.
    if (numbers < 0).any():
        where = f"{source}: " if isinstance(source, Path) else ""
        raise BadData(f"{where}{_unknown(names, numbers >= 0, kind)}")
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


def read_histories(source: Frame, friends: Frame | None, world: World) -> RawHistories:
    """Users that the World does not know, their events, and whom they know.

    source: an events table with the columns user, item, timestamp and optionally event_type, as a
    data frame, or a path as for `train.py --data`, with or without a social table. friends: a
    social table with the columns src, dst and optionally weight and timestamp, in place of that of
    the folder. All take the path of training data: the same synonyms and checks.
    """
    # Through files, because the readers of training data read files.
    with tempfile.TemporaryDirectory(prefix="histories-") as folder:
        events = _file_of(source, Path(folder) / "histories.parquet", "histories")
        social = friends
        if friends is not None:
            social = _file_of(friends, Path(folder) / "friends.parquet", "friends")
        try:
            return read_raw_histories(events, world, social)
        except BadData as error:
            # Nobody knows the folder: what is left is the name of the argument.
            raise BadData(str(error).replace(f"{folder}/", "")) from None


def _file_of(source: Frame, file: Path, kind: str) -> Path:
    """A path as it is, or a data frame as a file."""
    if isinstance(source, (str, Path)):
        return Path(source)
    pq.write_table(_table(source, kind), file)
    return file


def read_pairs(source: Frame, user_ids: Strings, world: World) -> tuple[np.ndarray, np.ndarray]:
    """(users [n], items [n]) int64 of pairs in their order; users are numbered by user_ids.

    source: a data frame with the columns user_id and item_id (or synonyms, as in training data), or
    a file of it: .parquet, .csv, .tsv, .jsonl. Raises BadData where an id is unknown or absent.
    """
    source, table = _source_and_table(source, "pairs")
    users, items = _id_column(table, "user", source), _id_column(table, "item", source)
    return (
        _numbers_of(user_ids, users, "user", source),
        _numbers_of(world.items.ids, items, "item", source),
    )


def read_campaigns(source: Frame, world: World) -> tuple[list[str], Pairs]:
    """(names [C] in order of appearance, their items, each once) of campaigns.

    source: a data frame with the columns campaign and item_id (or a synonym), or a file of it.
    Raises BadData where an item is unknown, or a campaign has no name, or there is none.
    """
    source, table = _source_and_table(source, "campaigns")
    # Numbered in the order of appearance, which the answer keeps.
    encoded = _campaign_column(table, source).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    items = _numbers_of(world.items.ids, _id_column(table, "item", source), "item", source)

    keys = sorted_distinct(np.asarray(encoded.indices).astype(np.int64) * world.num_items + items)
    offsets = offsets_of(keys // world.num_items, len(names))
    return names, Pairs(offsets, (keys % world.num_items).astype(np.int32))


def _campaign_column(table: pa.Table, source: Any) -> pa.Array:
    """The names of campaigns, a row each. Raises BadData where one is missing."""
    where = source if isinstance(source, Path) else "campaigns"
    if "campaign" not in table.column_names:
        raise BadData(f"{where}: no column campaign; found: {', '.join(table.column_names)}")
    if not table.num_rows:
        raise BadData(f"{where}: the table has no rows")
    names = table["campaign"].cast(pa.string()).fill_null("").combine_chunks()
    nameless = names.to_pylist().count("")
    if nameless:
        raise BadData(f"{where}: {nameless} of {len(names)} rows name no campaign")
    return names


def _source_and_table(source: Frame, kind: str) -> tuple[Any, pa.Table]:
    """(source, a path where it names a file; its table). kind: what the rows are."""
    if not isinstance(source, (str, Path)):
        return source, _table(source, kind)
    return Path(source), _read_table(Path(source), kind)


def _read_table(file: Path, kind: str) -> pa.Table:
    if not file.is_file():
        raise InputMissing(f"{file}: no such file of {kind}")
    # by the readers of training data, so that the same ids are found
    return pa.table(read_texts(file))


def _id_column(table: pa.Table, kind: Literal["user", "item"], source: Any) -> list[str]:
    """The ids of a table as texts, the empty one where there is none."""
    synonyms = schema.USER if kind == "user" else schema.ITEM
    matched = schema.match([schema.Field(kind, "id", synonyms)], table.column_names)
    if not matched:
        where = f"{source}: " if isinstance(source, Path) else ""
        raise BadData(f"{where}no {kind} column; found: {', '.join(table.column_names)}")
    ids = table[matched[kind]].cast(pa.string())
    return ids.fill_null("").to_pylist()


def _table(frame: Frame, name: str) -> pa.Table:
    try:
        return pa.table(frame)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{name} are no data frame: {error}") from None
