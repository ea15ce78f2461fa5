"""How a text file is laid out: what its first lines say of separators, quotes and comments."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.rules import plain_name
from socialrec_jax.data.prepare.schema import EDGES, TABLES
from socialrec_jax.data.prepare.text_files import HEAD, first_text
from socialrec_jax.errors import UsageError

ROWS = 50  # that are looked at
# of equal candidates the first wins; a comma may be part of a name, so a tab goes before it
_SEPARATORS = ("\t", ",", ";", "|", "::", "~", "^", "\x01")
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "blank": " ", "\\x01": "\x01"}
MAX_SEPARATOR = 4  # bytes, of DuckDB
_EXCEL = re.compile(r"sep=(.)", re.IGNORECASE)
# a backslash before a quote that ends no cell
_ESCAPED = re.compile(r'\\"(?![\t,;|]|\r?$)', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """What the user says of text files; None: they say it themselves."""

    encoding: str | None = None
    separator: str | None = None

    @classmethod
    def of(cls, config: DataConfig) -> TextOptions:
        """UsageError: the separator has more than four bytes, or none."""
        given = config.sep
        separator = None if given is None else _NAMES.get(given.lower(), given)
        if separator is not None and not 0 < len(separator.encode()) <= MAX_SEPARATOR:
            raise UsageError(
                f"--data.sep {given}: write what stands between two cells, of {MAX_SEPARATOR} "
                "bytes at most, such as ';' or tab"
            )
        return cls(config.encoding, separator)


@dataclasses.dataclass(frozen=True)
class TextForm:
    """The layout of one text file."""

    delimiter: str
    quote: str = '"'
    escape: str | None = None
    skip: int = 0  # lines before the header: comments, blank ones, the separator of a spreadsheet


def form_of(path: Path, encoding: str, suffix: str, separator: str | None) -> TextForm:
    """The layout that a file's first lines have, with the user's separator where there is one."""
    text = first_text(path, encoding).lstrip("\ufeff")
    lines = re.split(r"\r\n|\n|\r", text)
    # the last one may be cut
    if len(text) >= HEAD // 2:
        lines = lines[:-1]
    # the user's separator decides what a row is, too
    candidates = (separator,) if separator else _candidates(suffix)
    skip, named = _lines_before_header(lines, candidates)
    rows = [line for line in lines[skip : skip + ROWS] if line]
    delimiter = separator or named or _best(rows, candidates)
    quote = "'" if _has_single_quotes(rows, delimiter) else '"'
    escape = "\\" if _ESCAPED.search(text) and '""' not in text else None
    return TextForm(delimiter, quote, escape, skip)


def _candidates(suffix: str) -> tuple[str, ...]:
    return (*_SEPARATORS, " ") if suffix == ".txt" else _SEPARATORS


def _lines_before_header(lines: Sequence[str], candidates: Sequence[str]) -> tuple[int, str | None]:
    """How many lines come before the header, and the separator that one of them names."""
    skip, named = 0, None
    excel = _EXCEL.fullmatch(lines[0]) if lines else None
    if excel:
        skip, named = 1, excel[1]
    below = next((line for line in lines[skip:] if line.strip() and line[0] != "#"), "")
    before = itertools.takewhile(lambda line: _is_no_row(line, below, candidates), lines[skip:])
    skip += len(list(before))
    # a header may begin with a number sign, too
    if skip and lines[skip - 1].startswith("#"):
        known = [_known_names(line, candidates) for line in (lines[skip - 1], below)]
        skip -= known[0] > known[1]
    return skip, named


def _is_no_row(line: str, below: str, candidates: Sequence[str]) -> bool:
    """Whether a line is blank or a comment. Ids may begin with a number sign, as #tag does."""
    # where all lines begin with a sign, it is part of their ids
    if not line.startswith("#") or not below:
        return not line.strip()
    has_cells_of_a_row = any(
        part in below and line.count(part) == below.count(part) for part in candidates
    )
    return not (line[1:2].isalnum() and has_cells_of_a_row)


def _known_names(line: str, candidates: Sequence[str]) -> int:
    """How many cells are names of columns, by the separator that gives most."""
    return max(sum(_is_known(cell) for cell in line.split(part)) for part in candidates)


def _is_known(cell: str) -> bool:
    return plain_name(cell.strip().strip("\"'")) in _KNOWN


def _best(rows: Sequence[str], candidates: Sequence[str]) -> str:
    """The separator whose header has the most known names and whose rows have equal lengths."""
    if not rows:
        return ","

    def evidence(separator: str) -> tuple[int, float, int]:
        cells = [len(_split(row, separator)) for row in rows]
        is_there = cells[0] > 1
        same = sum(count == cells[0] for count in cells) / len(cells)
        known = sum(map(_is_known, _split(rows[0], separator)))
        return (known if is_there else 0, same if is_there else 0, cells[0])

    # a file of one column has no separator
    best = max(candidates, key=evidence)
    return best if best in rows[0] else ","


def _split(row: str, separator: str) -> list[str]:
    """Cells of a line; a separator in quotes is none."""
    if len(separator) > 1:
        return row.split(separator)
    try:
        return next(csv.reader([row], delimiter=separator), [])
    # a line that Python cannot take apart is checked by the engine
    except csv.Error:
        return row.split(separator)


def _has_single_quotes(rows: Sequence[str], delimiter: str) -> bool:
    """Whether all cells of a column, below the header, stand in single quotes."""
    if any('"' in row for row in rows) or not rows[1:]:
        return False
    columns = zip(*(row.split(delimiter) for row in rows[1:]), strict=False)
    return any(all(_is_quoted(cell.strip()) for cell in column) for column in columns)


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == "'"


_KNOWN = {
    *(name for fields in TABLES.values() for field in fields for name in field.synonyms),
    *(name for pair in EDGES for name in pair),
}
