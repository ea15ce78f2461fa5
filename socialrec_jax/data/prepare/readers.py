"""Files of raw tables: one `Source` a file, whether it is whole, and its lines.

This says how a file is laid out. An engine reads its rows (`engines/`).
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fnmatch
import itertools
import logging
import re
import urllib.parse
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from socialrec_jax.data.prepare.derived import Derived
from socialrec_jax.data.prepare.expansions import BLANKS_AND_HEADER, Expansion, Unnested
from socialrec_jax.data.prepare.part_names import in_natural_order
from socialrec_jax.data.prepare.sniffing import TextOptions, form_of
from socialrec_jax.data.prepare.text_files import (
    encoding_of,
    only_member,
    readable,
    refuse_other_kinds,
    text_lines,
    verify_whole,
)
from socialrec_jax.errors import BadData, InputMissing

__all__ = ["readable", "verify_whole"]  # for those who read sources
Kind = Literal["parquet", "text", "json"]
KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}


log = logging.getLogger(__name__)
PACKED = (".gz", ".zst", ".zip")
_NOTES = ("README", "LICENSE", "LICENCE")  # lie beside part files, and are none
# a number, or a date with its time
_DATA = re.compile(r"-?[0-9]+([.][0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")
MAX_SHOWN = 300  # characters of a header in a message


# by identity: sources are keys of dicts, and their own mappings cannot be hashed
@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One file, and how its fields are separated."""

    path: Path
    kind: Kind
    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None  # what stands before a quote in quotes; None: another quote
    encoding: str = "utf-8"
    skip: int = 0  # lines before the header
    names: tuple[str, ...] | None = None
    """Column names that replace the header, or stand for a missing one; None: the header's own."""
    has_header: bool = True
    derived: Mapping[str, Derived] = dataclasses.field(default_factory=dict)
    """Field name -> how it is made of the file's columns, where a synonym is not enough."""
    partitions: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    """Column -> its value in all rows, from folders such as `date=2024-01-01`."""
    expansion: Expansion | None = None
    """How one line becomes several rows; None: a line is a row."""
    all_columns: bool = False
    """Read columns that are not used, too: DuckDB fails on bytes that are no text otherwise."""
    unnested: Unnested | None = None
    expanded: Path | None = None  # the copy whose lines the expansion took; None: the file itself
    copy: Path | None = None
    """The same lines in a form that every engine reads; None: the file itself has it."""

    @property
    def content(self) -> Path:
        return self.copy or self.path


Tables = dict[str, list[Source]]


def source_of(path: Path, options: TextOptions | None = None) -> Source | None:
    """How a file is read by its suffix and its first lines; None for an unknown suffix."""
    options = options or TextOptions()
    suffix = kind_suffix(path)
    # unknown kinds are the caller's to refuse: only it knows if the file was named
    if suffix not in KINDS:
        return None
    # parquet says everything itself
    if KINDS[suffix] == "parquet":
        return Source(path, "parquet")

    refuse_other_kinds(path)
    encoding = encoding_of(path, options.encoding)
    if KINDS[suffix] == "json":
        return Source(path, "json", encoding=encoding)
    return _text_source(path, encoding, suffix, options.separator)


def _text_source(path: Path, encoding: str, suffix: str, separator: str | None) -> Source:
    form = form_of(path, encoding, suffix, separator)
    source = Source(path, "text", encoding=encoding, **dataclasses.asdict(form))
    header = first_line(source)
    # several blanks in a row separate two columns, not three
    if form.delimiter == " " and header.split(" ") != header.split():
        names = tuple(header.split())
        return dataclasses.replace(source, names=names, expansion=BLANKS_AND_HEADER)
    return source


def kind_suffix(path: Path) -> str:
    """The suffix that names the kind of file, in lower case: `.csv` of `EVENTS.CSV.gz`."""
    suffix = path.suffix.lower()
    # events.zip: only its member tells the kind, unlike events.csv.zip
    if suffix == ".zip" and path.is_file() and not Path(path.stem).suffix:
        return Path(only_member(path)).suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in PACKED else suffix


def sources_under(path: Path, options: TextOptions | None = None) -> list[Source]:
    """The file, or the part files of a folder in the order of their names.

    Files whose name begins with `.` or `_` are passed over. InputMissing: there is no such path,
    or no file in it. BadData: a file of an unknown kind, or one that lies there twice.
    """
    if not path.exists():
        raise InputMissing(f"{path}: no such file or folder")
    files = _part_files(path) if path.is_dir() else [path]
    if not files:
        raise InputMissing(f"{path}: the folder holds no part files")

    # before anything is read: events that count twice look like a good shop
    refuse_twice(files)
    sources = []
    for file in files:
        source = source_of(file, options)
        if source is None:
            expected = f"expected one of {', '.join(KINDS)} (plain, .gz or .zst)"
            raise BadData(f"{file}: unknown kind of file, {expected}")
        partitions = _partitions(file.relative_to(path)) if path.is_dir() else {}
        sources.append(dataclasses.replace(source, partitions=partitions))
    return sources


def glob(folder: Path, pattern: str) -> list[Path]:
    """Files whose name matches a pattern, in either case, plain or packed; in order of names."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    return [file for file in files if fnmatch.fnmatchcase(_unpacked(file.name), pattern.lower())]


def _unpacked(name: str) -> str:
    """The name in lower case, without the suffix of an archive."""
    lower = name.lower()
    return lower.removesuffix(Path(lower).suffix) if Path(lower).suffix in PACKED else lower


def refuse_twice(files: Sequence[Path]) -> None:
    """BadData: two files differ in their suffixes alone, so they most likely hold the same rows."""
    by_stem: dict[Path, Path] = {}
    for file in files:
        stem = file.with_name(_without_suffixes(file.name))
        if stem in by_stem:
            raise BadData(
                f"{by_stem[stem]} and {file.name} most likely hold the same rows; keep one of them"
            )
        by_stem[stem] = file


def _without_suffixes(name: str) -> str:
    path = Path(name)
    if path.suffix.lower() in PACKED:
        path = Path(path.stem)
    return path.stem if path.suffix.lower() in KINDS else path.name


def _partitions(path: Path) -> dict[str, str | None]:
    """Column -> value of folders such as `date=2024-01-01`, as Hive writes them."""
    parts = [part.partition("=") for part in path.parts[:-1] if "=" in part]
    return {
        name: None if value == "__HIVE_DEFAULT_PARTITION__" else urllib.parse.unquote(value)
        for name, _, value in parts
    }


def _part_files(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*"), key=in_natural_order) if file.is_file()]
    parts = [file for file in files if not _is_hidden(file.relative_to(folder))]
    # a README beside part files is usual, any other file is refused by its suffix
    notes = [file for file in parts if file.suffix.lower() == ".md" or file.stem in _NOTES]
    if notes:
        log.warning("%s: not read: %s", folder, ", ".join(file.name for file in notes))
    return [file for file in parts if file not in notes]


def _is_hidden(path: Path) -> bool:
    return any(part[0] in "._" for part in path.parts)


def header_of(source: Source) -> list[str]:
    """The column names of a text file; one without a name is called by its place.

    BadData: the file is empty, names repeat, or hold characters that no name has.
    """
    names = list(source.names or _first_row(source))
    # dataframes write their index under a blank name
    names = [name or f"column {place}" for place, name in enumerate(names, 1)]
    check_names(source, names)
    return names


def check_names(source: Source, names: Sequence[str]) -> None:
    """BadData: names repeat, or hold characters that no name has."""
    # SQL does not tell `User` from `user`
    distinct = {name.lower() for name in names}
    listed = ", ".join(names)[:MAX_SHOWN]
    if len(distinct) < len(names):
        advice = f"; {no_header_advice('events')}" if looks_like_data(names) else ""
        raise BadData(f"{source.path}: the header has repeated names: {listed}{advice}")
    if any(ord(letter) < ord(" ") for name in names for letter in name):
        raise BadData(f"{source.path}: the header holds control characters: {listed!r}")


def looks_like_data(names: Iterable[str]) -> bool:
    """Whether one of these names of columns is a number or a date, as no header has."""
    return any(_DATA.fullmatch(name.strip()) for name in names)


def no_header_advice(table: str) -> str:
    return (
        "the first line looks like data: put a line of column names before it, or say them with "
        f"--data.names {table}=NAME,NAME,..."
    )


def _first_row(source: Source) -> list[str]:
    first = first_line(source)
    if not first.strip():
        raise BadData(
            f"{source.path}: the file is empty or begins with a blank line, expected a line of "
            "column names"
        )
    if not source.quote or len(source.delimiter) > 1:
        return [cell.strip() for cell in first.split(source.delimiter)]
    # some programs write a blank after each comma, which would make quotes part of the name
    quoted = next(csv.reader([first], delimiter=source.delimiter, skipinitialspace=True))
    return [cell.strip() for cell in quoted]


def first_line(source: Source) -> str:
    """The first line of a text file that is no comment, empty when there is none."""
    with readable(source.path), contextlib.closing(lines(source)) as all_lines:
        # old line ends are a bare carriage return
        return next(all_lines, "").split("\r")[0].lstrip("\ufeff")


def lines(source: Source) -> Generator[str, None, None]:
    """The physical lines of a text file from its header on, undecodable bytes replaced."""
    with contextlib.closing(text_lines(source.content, source.encoding)) as all_lines:
        yield from itertools.islice(all_lines, source.skip, None)


def records(source: Source) -> Iterator[tuple[int, bool]]:
    """(first line, is blank) of each record; a quoted field may run over several lines."""
    if source.expansion:
        # the lines of the file, not those of its copy
        all_lines = text_lines(source.expanded or source.path, "utf-8")
        rows = source.expansion.rows(itertools.islice(all_lines, source.skip, None))
        yield from ((number + source.skip, False) for number, _ in rows)
    elif source.kind == "json" or not source.quote:
        yield from (
            (number, not line) for number, line in enumerate(lines(source), 1 + source.skip)
        )
    else:
        yield from _quoted_records(source)


def _quoted_records(source: Source) -> Iterator[tuple[int, bool]]:
    # a description may be longer than the 128 KiB that Python allows by default
    csv.field_size_limit(2**31 - 1)
    # a carriage return within a line ends none, and Python's reader refuses it
    ended = (line.replace("\r", " ") + "\n" for line in lines(source))
    reader = csv.reader(
        ended, delimiter=source.delimiter, quotechar=source.quote, escapechar=source.escape
    )
    start = 1 + source.skip
    for record in reader:
        yield start, not record
        start = reader.line_num + 1 + source.skip
