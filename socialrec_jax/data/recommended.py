"""The table `recommended.*`: what `serve.py recommend` wrote, as it comes back with the events."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset

from socialrec_jax.data.impressions import Impressions
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData

TABLE = "recommended"
_FORMATS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")
_IDS = ("user_id", "item_id")
_REQUIRED = (*_IDS, "rank")
_OPTIONAL = ("timestamp", "explored")
_LATEST = 10**11  # unix seconds, in the year 5138; later ones are of another unit
_LONGEST = 1000  # places of a list: a table of all lists is as wide as the longest
log = logging.getLogger(__name__)


def find_recommended(folder: Path) -> Path | None:
    """The file, or the folder of shards, in a folder of raw tables; None where there is none.

    BadData: there are several, or it is of another kind.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.name.split(".")[0] == TABLE]
    if len(paths) > 1:
        named = " and ".join(path.name for path in paths)
        raise BadData(f"{folder}: {named} are both {TABLE}; keep one of them")
    if paths and not paths[0].is_dir() and not paths[0].name.endswith(_FORMATS):
        raise BadData(f"{paths[0]}: unknown kind of file, expected one of {', '.join(_FORMATS)}")
    return paths[0] if paths else None


def files_of_recommended(folder: Path) -> list[Path]:
    """The file, or all files of the folder of shards, in the order of their names."""
    path = find_recommended(folder)
    if path is None or path.is_file():
        return [path] if path else []
    return sorted(file for file in path.iterdir() if file.is_file() and file.name[0] not in "._")


def read_recommended(path: Path, world: World, shown_at: int | None) -> Impressions:
    """The rows of a table whose user and item the World has; others are counted in the log.

    shown_at: unix seconds of rows without a timestamp; None: they must have one. BadData: a column
    is missing, or the file cannot be read.
    """
    table = _read(path)
    if shown_at is None and "timestamp" not in table.column_names:
        raise BadData(
            f"{path}: no column timestamp, so nobody knows which events came after the lists; "
            "serve.py recommend --explore writes it"
        )
    try:
        columns = _columns(table, world, shown_at)
    except pa.ArrowException as error:
        # For instance words in the place of numbers.
        raise BadData(f"{path}: {str(error).splitlines()[0]}") from error
    if (columns.times > _LATEST).any():
        raise BadData(f"{path}: timestamp is no unix seconds; milliseconds are 1000 times as many")
    is_known = (columns.users >= 0) & (columns.items >= 0)
    is_good = is_known & (columns.ranks >= 1) & (columns.ranks <= _LONGEST) & (columns.times >= 0)
    _report_unused(path, is_good)
    return columns.rows(is_good)


def _columns(table: pa.Table, world: World, shown_at: int | None) -> Impressions:
    """All rows of a table; -1 where there is no such user or item, or no value."""
    return Impressions(
        users=world.user_ids.lookup(_texts(table, "user_id")),
        items=world.items.ids.lookup(_texts(table, "item_id")),
        ranks=_whole_numbers(table, "rank", None),
        times=_whole_numbers(table, "timestamp", shown_at),
        explored=_explored(table),
    )


def _read(path: Path) -> pa.Table:
    """The columns that are used."""
    # Arrow reads what is compressed by the last suffix.
    suffix = Path(path.name.removesuffix(".gz")).suffix if path.is_file() else ".parquet"
    names = {".parquet": "parquet", ".jsonl": "json"}
    try:
        # Numbers as ids keep their digits: 007 is not 7.
        as_text = pa_csv.ConvertOptions(column_types=dict.fromkeys(_IDS, pa.string()))
        # Titles in explanations may have several lines.
        lines = pa_csv.ParseOptions(newlines_in_values=True)
        csv = pa_dataset.CsvFileFormat(lines, convert_options=as_text)
        data = pa_dataset.dataset(path, format=names.get(suffix, csv))
        missing = [name for name in _REQUIRED if name not in data.schema.names]
        if missing:
            found = ", ".join(data.schema.names)
            raise BadData(f"{path}: no column {missing[0]}; found: {found}")
        columns = [name for name in (*_REQUIRED, *_OPTIONAL) if name in data.schema.names]
        return data.to_table(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def _texts(table: pa.Table, name: str) -> list[str]:
    return table[name].cast(pa.string()).fill_null("").to_pylist()


def _whole_numbers(table: pa.Table, name: str, missing: int | None) -> np.ndarray:
    """A column [n] int64; `missing` where there is no value, -1 where that is None."""
    value = -1 if missing is None else missing
    if name not in table.column_names:
        return np.full(len(table), value, np.int64)
    column = table[name]
    if pa.types.is_timestamp(column.type):
        # Without this, the numbers would be of the column's own unit.
        column = column.cast(pa.timestamp("s"), safe=False)
    return column.cast(pa.int64()).fill_null(value).to_numpy()


def _explored(table: pa.Table) -> np.ndarray:
    if "explored" not in table.column_names:
        return np.zeros(len(table), bool)
    return table["explored"].cast(pa.int8()).fill_null(0).to_numpy() > 0


def _report_unused(path: Path, is_good: np.ndarray) -> None:
    if not is_good.all():
        unused = int((~is_good).sum())
        why = f"their user or item is unknown, or their rank is not 1 to {_LONGEST}"
        log.warning("%s: %d of %d rows are left out: %s", path, unused, len(is_good), why)
