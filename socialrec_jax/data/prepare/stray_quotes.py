"""Quotes that are part of a text, but join its line with later ones.

A title such as `"Best knife` opens a quote for a reader of CSV, and `pipe 5"` closes it some rows
below: the rows between become part of the title.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from socialrec_jax.data.prepare.engines.engine import Part
from socialrec_jax.data.prepare.readers import PACKED, Source, header_of, lines
from socialrec_jax.data.prepare.text_files import open_bytes
from socialrec_jax.errors import BadData

_CHUNK = 1 << 20  # bytes
_LARGE = 1 << 25  # bytes of an archive


def refuse_stray_quotes(parts: Sequence[Part]) -> None:
    """BadData: quotes join lines of a text file, each of which has all cells of a row."""
    for part in parts:
        if _may_join(part.source) and _is_joined(part):
            raise BadData(
                f"{part.source.path}: quotes join lines, each of which has all cells of a row: "
                "double the quotes in text, or remove them"
            )


def _may_join(source: Source) -> bool:
    is_text = source.kind == "text" and bool(source.quote) and len(source.delimiter) == 1
    # a large archive takes longer to unpack than its rows take to read
    is_large = source.content.suffix.lower() in PACKED and source.content.stat().st_size > _LARGE
    return is_text and not source.expansion and not is_large


def _is_joined(part: Part) -> bool:
    source = part.source
    records = part.end_row - part.first_row + len(part.unparsed) + source.has_header
    # most files have as many lines as rows, which is quickly counted
    if _count_lines(source) - source.skip <= records:
        return False
    cells = len(header_of(source))
    surplus = _lines_with(source, cells) - records
    # one line break in a table of two columns may stand before a comma of the text
    return surplus > 0 and (surplus + 1) * (cells - 1) > 2


def _count_lines(source: Source) -> int:
    """The lines of a file; the last one may have no end."""
    count, last = 0, b"\n"
    with open_bytes(source.content) as file:
        while chunk := file.read(_CHUNK):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


def _lines_with(source: Source, cells: int) -> int:
    """How many lines are not blank; 0 unless each of them has so many cells, quotes aside."""
    count = 0
    with contextlib.closing(lines(source)) as all_lines:
        for line in filter(str.strip, all_lines):
            if line.count(source.delimiter) != cells - 1:
                return 0
            count += 1
    return count
