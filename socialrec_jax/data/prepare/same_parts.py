"""Part files that hold the same rows, such as a copy that a file manager or a download left."""

from __future__ import annotations

import filecmp
import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import IO

from socialrec_jax.data.prepare.engines.engine import Part
from socialrec_jax.data.prepare.text_files import open_bytes
from socialrec_jax.errors import BadData

_CHUNK = 1 << 20  # bytes compared at a time
_FEW = 20  # files, each of which is compared with each


def refuse_same_parts(parts: Sequence[Part]) -> None:
    """BadData: two files of events have the same bytes, so their events would count twice.

    Files without rows may be alike: some programs write many of them.
    """
    by_rows: dict[int, list[Part]] = {}
    for part in parts:
        by_rows.setdefault(part.end_row - part.first_row, []).append(part)
    for rows, alike in by_rows.items():
        for one, other in _pairs(alike) if rows else ():
            if _is_same(one, other):
                paths = f"{one.source.path} and {other.source.path}"
                raise BadData(f"{paths} hold the same rows; keep one of them")


def _pairs(parts: Sequence[Part]) -> Iterator[tuple[Part, Part]]:
    """Those that may have the same bytes: of one size; where files are few, all pairs."""
    by_size: dict[int, list[Part]] = {}
    for part in parts:
        by_size.setdefault(part.source.path.stat().st_size, []).append(part)
    groups = [parts] if len(parts) <= _FEW else by_size.values()
    for group in groups:
        yield from itertools.combinations(group, 2)


def _is_same(part: Part, other: Part) -> bool:
    """Whether two files have the same bytes; of a packed file those that it holds."""
    first, second = part.source, other.source
    # folders such as type=view may say what differs
    if first.partitions != second.partitions or first.kind != second.kind:
        return False
    if first.path.suffix == second.path.suffix:
        return filecmp.cmp(first.path, second.path, shallow=False)
    with open_bytes(first.path) as one, open_bytes(second.path) as two:
        pairs = itertools.zip_longest(_chunks(one), _chunks(two))
        return all(itertools.starmap(operator.eq, pairs))


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
