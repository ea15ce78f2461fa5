"""Parquet files of a table in the order of their rows, and their columns as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.data.columns import Strings

BATCH_ROWS = 1 << 18  # read at a time


@dataclasses.dataclass(frozen=True)
class Parts:
    """The files of a table, and how many rows each has."""

    files: Sequence[Path]
    counts: Sequence[int]

    @classmethod
    def of_folder(cls, folder: Path) -> Parts:
        """What Spark wrote, whose names are in the order of rows."""
        files = sorted(folder.glob("part-*.parquet"))
        return cls(files, [pq.read_metadata(file).num_rows for file in files])

    @property
    def first_rows(self) -> list[int]:
        """The place of each file's first row in the table."""
        return np.cumsum([0, *self.counts])[:-1].tolist()

    def column(self, name: str, kind: type) -> np.ndarray:
        """A column without NULLs."""
        values = np.empty(sum(self.counts), kind)
        start = 0
        for array in self._arrays(name):
            values[start : start + len(array)] = array.to_numpy(zero_copy_only=False)
            start += len(array)
        return values

    def strings(self, name: str) -> Strings:
        """A column of texts; NULL is the empty string."""
        # bytes and offsets are taken as they are: a Python object for each text costs more
        lengths, data = [np.zeros(1, np.int64)], []
        for array in self._arrays(name):
            texts = array.fill_null("").cast(pa.large_string())
            _, offsets, letters = texts.buffers()
            bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
            lengths.append(np.diff(bounds))
            if letters is not None:
                data.append(np.frombuffer(letters, np.uint8)[bounds[0] : bounds[-1]])
        joined = np.concatenate(data) if data else np.zeros(0, np.uint8)
        return Strings(np.cumsum(np.concatenate(lengths)), joined)

    def lists(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A column of lists of one length: the places [n] of rows that have one, lists [n, D]."""
        owners, entries = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        start = 0
        for array in self._arrays(name):
            is_given = array.is_valid().to_numpy(zero_copy_only=False)
            owners.append(start + np.flatnonzero(is_given))
            entries.append(array.flatten().to_numpy(zero_copy_only=False))
            start += len(array)
        places = np.concatenate(owners)
        return places, np.concatenate(entries).reshape(len(places), -1 if len(places) else 0)

    def _arrays(self, name: str) -> Iterator[pa.Array]:
        for file in self.files:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(BATCH_ROWS, columns=[name]):
                    yield batch.column(name)
