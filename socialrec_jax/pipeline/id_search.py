"""Files that hold one of some ids, whatever their format: what `--forget` must not leave.

Columns of ids are compared value by value. Texts are searched for whole words, and other files for
the bytes of an id. Compressed content is searched as it was before it was compressed.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from socialrec_jax.data.columns import Strings

# Ids that are shorter, or numbers, occur by chance in texts or among bytes.
_LEAST_LETTERS, _LEAST_BYTES = 3, 6
_WORD = re.compile(r"\w+(?:[.@:/-]\w+)*")
_ID_COLUMN = re.compile(r"(^|_)(user|item|src|dst|similar|friends|key|value)(_?ids?)?$", re.I)
_ID_FILES = ("user_ids.utf8.npy", "items/ids.utf8.npy")  # of a World
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BYTES_AT_ONCE = 1 << 20
_LARGEST_CONTENT = 1 << 28  # of a compressed part


@dataclasses.dataclass(frozen=True)
class IdSearch:
    """Searches files for ids."""

    ids: frozenset[str]

    @classmethod
    def of(cls, ids: Iterable[str]) -> IdSearch:
        return cls(frozenset(ids))

    def files_with_ids(self, files: Iterable[Path]) -> list[Path]:
        """Those of the files that hold an id in their content or name."""
        return [file for file in files if self._is_in_file(file)]

    def _is_in_file(self, file: Path) -> bool:
        # A suffix would be taken for a part of the word.
        if self._is_in_text(f"{file.stem} {file.name.split('.')[0]}"):
            return True
        if file.suffix == ".parquet":
            return self._is_in_table(file)
        if file.name.endswith(".utf8.npy"):
            return self._is_in_strings(file)
        return self._is_in_bytes(file.read_bytes())

    # ---- Columns

    def _is_in_table(self, file: Path) -> bool:
        try:
            table = pq.read_table(file)
        # Named like a table, and none: it is searched like any other file.
        except pa.ArrowException:
            return self._is_in_bytes(file.read_bytes())
        return any(
            self._is_in_column(name, chunk)
            for name, column in zip(table.column_names, table.columns, strict=True)
            for chunk in column.chunks
        )

    def _is_in_column(self, name: str, values: pa.Array) -> bool:
        values = _flat(values)
        if isinstance(values, pa.StructArray):
            fields = zip(values.type, values.flatten(), strict=True)
            return any(self._is_in_column(field.name, part) for field, part in fields)
        is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        # No id is a fraction or a truth value.
        if not is_text and not pa.types.is_integer(values.type):
            return False
        distinct = values.unique().cast(pa.string()).to_pylist()
        # Counts and ranks equal numeric ids by chance, so numbers count in columns of ids alone.
        if _ID_COLUMN.search(name):
            return not self.ids.isdisjoint(distinct)
        return is_text and self._is_in_text("\n".join(filter(None, distinct)))

    def _is_in_strings(self, file: Path) -> bool:
        """The same for a column of a World, whose texts have nothing between them."""
        path = file.with_name(file.name.removesuffix(".utf8.npy"))
        texts = Strings.load(path).tolist()
        if file.as_posix().endswith(_ID_FILES):
            return not self.ids.isdisjoint(texts)
        return self._is_in_text("\n".join(set(texts)))

    # ---- Content without columns

    def _is_in_bytes(self, content: bytes) -> bool:
        # A zip archive, as .npz files are.
        if content[:2] == b"PK":
            return any(self._is_in_bytes(part) for part in _zip_members(content))
        # gzip, which any table of a shop may be.
        if content[:2] == b"\x1f\x8b":
            return self._is_in_bytes(gzip.decompress(content))
        text = _text_of(content)
        if text is not None:
            return self._is_in_text(text)
        if self._is_in_binary(content):
            return True
        # The arrays of a checkpoint are compressed inside its files.
        return any(self._is_in_bytes(part) for part in _zstd_frames(content))

    def _is_in_text(self, text: str) -> bool:
        if not self._words.isdisjoint(_WORD.findall(text)):
            return True
        return any(phrase in text for phrase in self._phrases)

    def _is_in_binary(self, content: bytes) -> bool:
        # The first bytes of all ids are compared at once: the time does not depend on their number.
        if not self._encoded:
            return False
        heads = np.array(sorted(self._encoded), np.uint64)
        for begin in range(0, len(content), _BYTES_AT_ONCE):
            part = content[begin : begin + _BYTES_AT_ONCE + _LEAST_BYTES - 1]
            windows = _windows(part)
            places = np.minimum(np.searchsorted(heads, windows), len(heads) - 1)
            for place in np.flatnonzero(heads[places] == windows):
                at = begin + int(place)
                ids = self._encoded[int(windows[place])]
                if any(content.startswith(name, at) for name in ids):
                    return True
        return False

    # ---- The ids in the forms that they are searched in

    @functools.cached_property
    def _words(self) -> frozenset[str]:
        """Ids that a search for words finds."""
        return frozenset(name for name in self._distinctive if _WORD.fullmatch(name))

    @functools.cached_property
    def _phrases(self) -> list[str]:
        """Ids with other characters, as they are and as JSON writes them; numbers in quotes."""
        others = self._distinctive - self._words
        numbers = {f'"{name}"' for name in self.ids if name.isdecimal()}
        escaped = {json.dumps(name)[1:-1] for name in self._distinctive if not name.isascii()}
        return sorted(others | numbers | escaped)

    @functools.cached_property
    def _distinctive(self) -> frozenset[str]:
        long = (name for name in self.ids if len(name) >= _LEAST_LETTERS)
        return frozenset(name for name in long if not name.isdecimal())

    @functools.cached_property
    def _encoded(self) -> dict[int, list[bytes]]:
        """Ids as bytes, by the number that their first bytes make."""
        by_head: dict[int, list[bytes]] = {}
        for name in map(str.encode, self.ids):
            if len(name) >= _LEAST_BYTES:
                by_head.setdefault(int(_windows(name)[0]), []).append(name)
        return by_head


def _flat(values: pa.Array) -> pa.Array:
    """The values of a column, those in lists one after the other."""
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = values.flatten()
    return values


def _windows(content: bytes) -> np.ndarray:
    """The number [n] uint64 that the bytes from each place on make."""
    numbers = np.frombuffer(content, np.uint8).astype(np.uint64)
    count = max(len(numbers) - _LEAST_BYTES + 1, 0)
    windows = np.zeros(count, np.uint64)
    for place in range(_LEAST_BYTES):
        windows |= numbers[place : place + count] << np.uint64(8 * place)
    return windows


def _text_of(content: bytes) -> str | None:
    """The text that a file is; None where it is none."""
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _zip_members(content: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            yield name.encode()
            yield archive.read(name)


def _zstd_frames(content: bytes) -> Iterator[bytes]:
    """What the frames in a file hold: checkpoints have them among other bytes."""
    at = content.find(_ZSTD_MAGIC)
    while at >= 0:
        reader = zstandard.ZstdDecompressor().stream_reader(memoryview(content)[at:])
        part = _readable_part(reader.read)
        if part:
            yield part
        # The length of a frame is not known where it does not end well, so each start is tried.
        at = content.find(_ZSTD_MAGIC, at + 1)


def _readable_part(read: Callable[[int], bytes]) -> bytes:
    """All that can be read of one frame; the bytes of a frame's beginning occur by chance, too."""
    try:
        return read(_LARGEST_CONTENT)
    except zstandard.ZstdError:
        return b""
