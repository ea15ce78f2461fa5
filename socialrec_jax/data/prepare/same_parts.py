"""Part files that hold the same rows, such as a copy that a file manager or a download left."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence

from socialrec_jax.data.prepare.engines.engine import Part
from socialrec_jax.data.prepare.text_files import open_bytes
from socialrec_jax.errors import BadData

_CHUNK = 1 << 20  # bytes compared at a time


def refuse_same_parts(parts: Sequence[Part]) -> None:
    """BadData: two files of events have the same bytes, so their events would count twice.

    Files without rows may be alike: some programs write many of them.
    """
    by_rows: dict[int, list[Part]] = {}
    for part in parts:
        rows = part.end_row - part.first_row
        for other in by_rows.setdefault(rows, []) if rows else []:
            if _is_same(part, other):
                raise BadData(
                    f"{other.source.path} and {part.source.path} hold the same rows; keep one of "
                    "them"
                )
        if rows:
            by_rows[rows].append(part)


def _is_same(part: Part, other: Part) -> bool:
    """Whether two files have the same bytes; of a packed file those that it holds."""
    first, second = part.source, other.source
    # folders such as type=view may say what differs
    if first.partitions != second.partitions or first.kind != second.kind:
        return False
    if first.path.suffix == second.path.suffix:
        return filecmp.cmp(first.path, second.path, shallow=False)
    with open_bytes(first.path) as one, open_bytes(second.path) as two:
        while True:
            chunk, same = one.read(_CHUNK), two.read(_CHUNK)
            if chunk != same:
                return False
            if not chunk:
                return True
