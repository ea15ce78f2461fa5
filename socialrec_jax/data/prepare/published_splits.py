"""Data sets that are published in parts: what is trained on, validated and tested.

The parts are joined in that order, and the split is made anew, so that all models of a report are
measured in one way. The log says so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)
_PARTS = {"train": 1, "valid": 2, "validation": 2, "val": 2, "dev": 2, "test": 3}
_NAME = re.compile(rf"(?:.*[._-])?({'|'.join(_PARTS)})", re.IGNORECASE)


def place_of(file: Path) -> int:
    """1 for a training part, 2 for validation, 3 for test, 0 for another file."""
    # x.train.inter, train.csv.gz, shop_train.csv
    names = [_NAME.fullmatch(name) for name in (file.name.split(".")[0], *file.suffixes)]
    return next((_PARTS[name[1].lower()] for name in names if name), 0)


def are_parts(files: Sequence[Path]) -> bool:
    """Whether several files are the parts of one published split."""
    # several training parts, or one file that is called test, are no split
    places = {place_of(file) for file in files}
    return len(places) > 1 and 0 not in places


def note_joined(files: Sequence[Path]) -> None:
    """Log that the parts of a split are read as one table."""
    log.warning(
        "%s: a published split: its parts are joined in this order, and --split makes a new one",
        ", ".join(str(file) for file in sorted(files, key=place_of)),
    )
