"""Columns on disk: plain `.npy` files, and strings as one byte array with offsets, memory-mapped.

A World of any size opens in milliseconds and costs only the pages that are read.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from socialrec_jax.checksums import readable
from socialrec_jax.data.csr import ranges
from socialrec_jax.files import writing

HASH_BASE = 0x9E3779B97F4A7C15  # odd, so that every power keeps all bits
HASHED_AT_ONCE = 1 << 20  # texts


class Strings(Sequence[str]):
    """An immutable column of strings: `offsets` [n + 1] int64 into UTF-8 `data` [bytes] uint8."""

    def __init__(self, offsets: np.ndarray, data: np.ndarray):
        self.offsets, self.data = offsets, data

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice | list | np.ndarray) -> list[str]: ...

    def __getitem__(self, index):
        # texts are decoded when they are read, so a slice costs what it returns
        if isinstance(index, (slice, list, np.ndarray)):
            return [self[i] for i in np.arange(len(self))[index]]
        start, end = self.offsets[index], self.offsets[index + 1]
        return self.data[start:end].tobytes().decode()

    def tolist(self) -> list[str]:
        """All texts, much faster than one by one."""
        # slicing bytes is several times faster than slicing an array
        data, bounds = self.data.tobytes(), self.offsets.tolist()
        return [data[start:end].decode() for start, end in itertools.pairwise(bounds)]

    @functools.cached_property
    def blank(self) -> np.ndarray:
        """Which texts [n] bool are empty."""
        return np.diff(self.offsets) == 0

    def lookup(self, texts: Iterable[str]) -> np.ndarray:
        """Positions [m] int64 of `texts`, -1 where a text is not in the column or is empty.

        Takes a sorted array of hashes rather than a dict: 16 bytes a text instead of about 200.
        """
        queries = Strings.of(texts if isinstance(texts, Sequence) else list(texts))
        positions = np.full(len(queries), -1, np.int64)
        # no queries, no hashes: they cost a sort of the column
        if not len(queries):
            return positions

        # different texts may share a hash, so each candidate is compared
        candidates, places = self._same_hashes(queries)
        same = self._equal(candidates, queries, places) & ~queries.blank[places]
        positions[places[same]] = candidates[same]
        return positions

    def _same_hashes(self, queries: Strings) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a row and a place in the queries whose texts have one hash."""
        hashes, rows = self._sorted_hashes
        keys = queries._hashes()
        first, last = (np.searchsorted(hashes, keys, side) for side in ("left", "right"))
        places = np.repeat(np.arange(len(queries)), last - first)
        return rows[ranges(first, last - first)], places

    def sort_for_lookup(self) -> None:
        """Do now, perhaps in another thread, what the first `lookup` would do."""
        _ = self._sorted_hashes

    def _equal(self, rows: np.ndarray, other: Strings, other_rows: np.ndarray) -> np.ndarray:
        """Whether the texts in pairs of rows [p] bool of two columns are the same."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        other_lengths = other.offsets[other_rows + 1] - other.offsets[other_rows]
        equal = lengths == other_lengths

        # bytes are compared only where the lengths agree
        pairs = np.flatnonzero(equal)
        mine = self.data[ranges(self.offsets[rows[pairs]], lengths[pairs])]
        others = other.data[ranges(other.offsets[other_rows[pairs]], lengths[pairs])]
        differing = np.repeat(pairs, lengths[pairs])[mine != others]
        equal[differing] = False
        return equal

    def take(self, rows: np.ndarray) -> Strings:
        """A column of the texts in these rows."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Strings(offsets, self.data[ranges(self.offsets[rows], lengths)])

    @functools.cached_property
    def _sorted_hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """The hashes of all texts in rising order, and the rows that they belong to."""
        hashes = self._hashes()
        rows = np.argsort(hashes)
        return hashes[rows], rows

    def _hashes(self) -> np.ndarray:
        """A hash [n] uint64 of each text, in slices that bound the memory."""
        parts = [
            _polynomial(self.offsets[start : start + HASHED_AT_ONCE + 1], self.data)
            for start in range(0, len(self), HASHED_AT_ONCE)
        ]
        return np.concatenate([np.zeros(0, np.uint64), *parts])

    def extended(self, texts: Sequence[str]) -> Strings:
        """This column with `texts` after it."""
        added = Strings.of(texts)
        if not len(added):
            return self
        offsets = np.concatenate([self.offsets, self.offsets[-1] + added.offsets[1:]])
        return Strings(offsets, np.concatenate([self.data, added.data]))

    def replaced(self, rows: np.ndarray, texts: Sequence[str]) -> Strings:
        """This column with `texts` in those rows, which must rise."""
        if not len(rows):
            return self
        added = Strings.of(texts)
        lengths = np.diff(self.offsets)
        lengths[rows] = np.diff(added.offsets)
        offsets = np.concatenate([[0], np.cumsum(lengths)])

        # what lies between two replaced rows is copied as one piece
        pieces, copied = [], 0
        for place, row in enumerate(rows.tolist()):
            new_text = added.data[added.offsets[place] : added.offsets[place + 1]]
            pieces += [self.data[copied : self.offsets[row]], new_text]
            copied = self.offsets[row + 1]
        pieces.append(self.data[copied:])
        return Strings(offsets, np.concatenate(pieces))

    @classmethod
    def of(cls, texts: Sequence[str]) -> Strings:
        """A column in memory; a column stays as it is."""
        if isinstance(texts, Strings):
            return texts
        encoded = list(map(str.encode, texts))
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    @classmethod
    def load(cls, path: Path) -> Strings:
        """DamagedFile: it cannot be read, or the offsets do not fit the bytes."""
        offsets = load_column(path.with_suffix(".offsets"), "int64")
        data = load_column(path.with_suffix(".utf8"), "uint8")
        with readable(path.with_suffix(".offsets.npy")):
            if offsets[0] != 0 or offsets[-1] != len(data):
                raise ValueError(f"its offsets do not end at {len(data)} bytes")
        return cls(offsets, data)

    def save(self, path: Path) -> None:
        save_column(path.with_suffix(".offsets"), self.offsets)
        save_column(path.with_suffix(".utf8"), self.data)


def _polynomial(offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
    """The sum of byte * base^place [n] uint64 of each text, modulo 2^64.

    In numpy, because hashing one Python string after the other takes most of a small append.
    """
    lengths = np.diff(offsets)
    placed_before = np.repeat(offsets[:-1] - offsets[0], lengths)
    places = np.arange(len(placed_before)) - placed_before
    powers = np.cumprod(np.full(lengths.max(initial=0) + 1, HASH_BASE, np.uint64))
    terms = data[offsets[0] : offsets[-1]] * powers[places]

    # unsigned sums wrap, and so do their differences
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
    bounds = offsets - offsets[0]
    return sums[bounds[1:]] - sums[bounds[:-1]]


def load_column(path: Path, dtype: str) -> np.ndarray:
    """The column `path`.npy, memory-mapped read-only; small ones are read, empty ones must be.

    DamagedFile: it cannot be read, or holds no rows of this type.
    """
    # an id such as `a.b` is no suffix, so the name is extended by hand
    file = path.with_name(path.name + ".npy")
    with readable(file):
        mapped = file.stat().st_size > 1024
        column = np.load(file, mmap_mode="r" if mapped else None)
        if column.dtype != dtype or not column.ndim:
            raise ValueError(f"it holds {column.dtype}{list(column.shape)}, not rows of {dtype}")
    return column.view(np.ndarray)  # a memmap's own indexing is slow


def save_column(path: Path, values: np.ndarray) -> None:
    file = path.with_name(path.name + ".npy")
    with writing(file):
        np.save(file, values)
