"""Is a file whole? DuckDB, asked to store what it rejects, takes a truncated archive for a short
table.

A gzip stream is unpacked once, which checks its sum too. Python's library reads Zstandard only from
3.14 on, so there the blocks are stepped over; what is inside them DuckDB checks itself.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO


def verify(path: Path) -> None:
    """Raises OSError, EOFError or zlib.error unless the file is whole."""
    if path.stat().st_size == 0:
        raise EOFError("the file is empty")
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    if path.suffix == ".zst":
        _walk_zstd(path)


def _walk_zstd(path: Path) -> None:
    """Steps over the blocks of each Zstandard frame (RFC 8878, 3.1) without unpacking them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            magic = int.from_bytes(_exactly(file, 4), "little")
            if magic >> 4 == 0x184D2A5:  # a skippable frame
                file.seek(int.from_bytes(_exactly(file, 4), "little"), 1)
                continue
            if magic != 0xFD2FB528:
                raise OSError("not a Zstandard stream")
            _walk_frame(file)
        if file.tell() > size:
            raise EOFError("the Zstandard stream ends in the middle of a block")


def _walk_frame(file: BinaryIO) -> None:
    flags = _exactly(file, 1)[0]
    single_segment = flags >> 5 & 1
    content_size = (1 if single_segment else 0, 2, 4, 8)[flags >> 6]
    file.seek((1 - single_segment) + (0, 1, 2, 4)[flags & 3] + content_size, 1)
    is_last = False
    while not is_last:
        header = int.from_bytes(_exactly(file, 3), "little")
        is_last, is_repeat = bool(header & 1), header >> 1 & 3 == 1
        file.seek(1 if is_repeat else header >> 3, 1)
    file.seek(4 * (flags >> 2 & 1), 1)  # the checksum


def _exactly(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise EOFError("the Zstandard stream ends in the middle of a block")
    return found
