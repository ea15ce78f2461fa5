"""The order in which the part files of a table are read."""

from __future__ import annotations

import re
from pathlib import Path

_DIGITS = re.compile("([0-9]+)")


def in_natural_order(path: Path) -> list[list[tuple[int, str]]]:
    """A key that sorts part-2 before part-10, and numbers before letters."""
    return [[_key(piece) for piece in _DIGITS.split(name) if piece] for name in path.parts]


def _key(piece: str) -> tuple[int, str]:
    # digits of other scripts are letters here, as in the pattern
    is_number = piece.isascii() and piece.isdecimal()
    return (int(piece), piece) if is_number else (1 << 62, piece)
