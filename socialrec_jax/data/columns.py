"""Columns on disk: plain `.npy` files, and strings as one byte array with offsets, all
memory-mapped.

A World of any size opens in milliseconds and costs only the pages that are read.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np


class Strings(Sequence[str]):
    """An immutable column of strings: `offsets` [n + 1] int64 into UTF-8 `data` [bytes] uint8."""

    def __init__(self, offsets: np.ndarray, data: np.ndarray):
        self.offsets, self.data = offsets, data

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index):
        if isinstance(index, (slice, list, np.ndarray)):
            return [self[i] for i in np.arange(len(self))[index]]
        start, end = self.offsets[index], self.offsets[index + 1]
        return self.data[start:end].tobytes().decode()

    @functools.cached_property
    def _positions(self) -> dict[str, int]:
        return {text: position for position, text in enumerate(self.tolist())}

    def tolist(self) -> list[str]:
        """All texts, much faster than one by one."""
        data, bounds = self.data.tobytes(), self.offsets.tolist()
        return [data[start:end].decode() for start, end in itertools.pairwise(bounds)]

    def lookup(self, texts: Iterable[str]) -> np.ndarray:
        """Positions [n] int64 of `texts`, -1 where a text is not in the column."""
        return np.fromiter((self._positions.get(text, -1) for text in texts), np.int64)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Strings:
        """A column in memory."""
        encoded = list(map(str.encode, texts))
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    @classmethod
    def load(cls, path: Path) -> Strings:
        return cls(
            load_column(path.with_suffix(".offsets")), load_column(path.with_suffix(".utf8"))
        )

    def save(self, path: Path) -> None:
        save_column(path.with_suffix(".offsets"), self.offsets)
        save_column(path.with_suffix(".utf8"), self.data)


def load_column(path: Path) -> np.ndarray:
    """The column `path`.npy, memory-mapped read-only (an empty one cannot be mapped and is
    read).
    """
    file = path.with_name(path.name + ".npy")
    mapped = file.stat().st_size > 1024
    return np.load(file, mmap_mode="r" if mapped else None)


def save_column(path: Path, values: np.ndarray) -> None:
    np.save(path.with_name(path.name + ".npy"), values)
