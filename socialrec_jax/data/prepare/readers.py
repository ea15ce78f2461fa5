"""Files of raw tables: one `Source` a file, whether it is whole, and its lines.

This says how a file is laid out. An engine reads its rows (`engines/`).
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import zlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import zstandard

from socialrec_jax.errors import BadData, DiskError, InputMissing

Kind = Literal["parquet", "text", "json"]
KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".csv": "text",
    ".tsv": "text",
    ".jsonl": "json",
    ".json": "json",
}
CHUNK = 1 << 20  # bytes read at a time


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same value in every row."""

    value: str
    columns_used: ClassVar[tuple[str, ...]] = ()

    @property
    def shown(self) -> str:
        return repr(self.value)


@dataclasses.dataclass(frozen=True)
class Replaced:
    """A column's text with every `old` replaced by `new`."""

    column: str
    old: str
    new: str

    @property
    def columns_used(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def shown(self) -> str:
        return self.column


@dataclasses.dataclass(frozen=True)
class FlaggedColumns:
    """The names of those columns that hold 1, separated by `|`."""

    columns_used: tuple[str, ...]

    @property
    def shown(self) -> str:
        return f"{len(self.columns_used)} flags"


@dataclasses.dataclass(frozen=True)
class Joined:
    """The texts of some columns, such as a date and the time of the day."""

    columns_used: tuple[str, ...]
    separator: str

    @property
    def shown(self) -> str:
        return "+".join(self.columns_used)


Derived = Constant | Replaced | FlaggedColumns | Joined


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One file, and how its fields are separated."""

    path: Path
    kind: Kind
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None
    """Column names that replace the header, or stand for a missing one; None: the header's own."""
    has_header: bool = True
    derived: Mapping[str, Derived] = dataclasses.field(default_factory=dict)
    """Field name -> how it is made of the file's columns, where a synonym is not enough."""
    partitions: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    """Column -> its value in all rows, from folders such as `date=2024-01-01`."""
    copy: Path | None = None
    """The same lines in a form that every engine reads; None: the file itself has it."""

    @property
    def content(self) -> Path:
        return self.copy or self.path


def source_of(path: Path) -> Source | None:
    """How a file is read by its suffix; None for an unknown suffix."""
    suffix = Path(path.stem).suffix if path.suffix in (".gz", ".zst") else path.suffix
    # unknown kinds are the caller's to refuse: only it knows if the file was named
    if suffix not in KINDS:
        return None
    if KINDS[suffix] != "text":
        return Source(path, KINDS[suffix])

    if suffix == ".tsv":
        return Source(path, "text", delimiter="\t")
    # spreadsheets of many countries write `;` into a .csv
    header = first_line(path)
    return Source(path, "text", delimiter=max(",;\t", key=header.count))


def sources_under(path: Path) -> list[Source]:
    """The file, or the part files of a folder in the order of their names.

    Files whose name begins with `.` or `_` are passed over. InputMissing: there is no such path,
    or no file in it. BadData: a file of an unknown kind.
    """
    if not path.exists():
        raise InputMissing(f"{path}: no such file or folder")
    files = _part_files(path) if path.is_dir() else [path]
    if not files:
        raise InputMissing(f"{path}: the folder holds no part files")

    sources = []
    for file in files:
        source = source_of(file)
        if source is None:
            expected = f"expected one of {', '.join(KINDS)} (plain, .gz or .zst)"
            raise BadData(f"{file}: unknown kind of file, {expected}")
        sources.append(source)
    return sources


def _part_files(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return [file for file in files if not _is_hidden(file.relative_to(folder))]


def _is_hidden(path: Path) -> bool:
    return any(part[0] in "._" for part in path.parts)


def header_of(source: Source) -> list[str]:
    """The column names of a text file. BadData: the file is empty, or names repeat or are blank."""
    names = list(source.names or _first_row(source))
    # SQL does not tell `User` from `user`
    distinct = {name.lower() for name in names}
    if len(distinct) < len(names) or not all(names):
        listed = ", ".join(names)
        raise BadData(f"{source.path}: the header has blank or repeated names: {listed}")
    return names


def _first_row(source: Source) -> list[str]:
    first = first_line(source.path)
    if not first.strip():
        raise BadData(f"{source.path}: the file is empty, expected a line of column names")
    if not source.quote:
        return [cell.strip() for cell in first.split(source.delimiter)]
    quoted = next(csv.reader([first], delimiter=source.delimiter))
    return [cell.strip() for cell in quoted]


def first_line(path: Path) -> str:
    """The first line of a text file, empty when there is none."""
    with readable(path), contextlib.closing(lines(Source(path, "json"))) as all_lines:
        return next(all_lines, "")


def lines(source: Source) -> Generator[str, None, None]:
    """The physical lines of a text file, undecodable bytes replaced."""
    encoding = "utf-8-sig" if source.encoding == "utf-8" else source.encoding
    opener = {".gz": gzip.open, ".zst": zstandard.open}.get(source.path.suffix, open)
    with opener(source.path, "rt", encoding=encoding, errors="replace", newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def records(source: Source) -> Iterator[tuple[int, bool]]:
    """(first line, is blank) of each record; a quoted field may run over several lines."""
    if source.kind == "json" or not source.quote:
        for number, line in enumerate(lines(source), 1):
            yield number, not line
        return

    # a description may be longer than the 128 KiB that Python allows by default
    csv.field_size_limit(2**31 - 1)
    ended = (line + "\n" for line in lines(source))
    reader = csv.reader(ended, delimiter=source.delimiter, quotechar=source.quote)
    start = 1
    for record in reader:
        yield start, not record
        start = reader.line_num + 1


def verify_whole(path: Path) -> None:
    """Unpack an archive once: an engine may take a truncated one for a short table.

    Raises OSError, EOFError, zlib.error or zstandard.ZstdError unless the file is whole.
    """
    if path.stat().st_size == 0:
        raise EOFError("the file is empty")
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            while file.read(CHUNK):
                pass
    if path.suffix == ".zst":
        _verify_zstd(path)


def _verify_zstd(path: Path) -> None:
    """A stream reader takes a cut for the end, so each frame must say that it is complete."""
    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            while chunk:
                if frame.eof:
                    frame = decompressor.decompressobj()
                frame.decompress(chunk)
                chunk = frame.unused_data
    if not frame.eof:
        raise EOFError("the Zstandard stream ends in the middle of a block")


@contextlib.contextmanager
def readable(path: Path, *engine_errors: type[Exception]) -> Iterator[None]:
    """Say in one line what a library, the system or an engine says of a file it cannot read."""
    errors = (OSError, EOFError, zlib.error, zstandard.ZstdError, *engine_errors)
    try:
        yield
    except errors as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        # the engine spills to disk while it reads
        if "No space left" in reason:
            raise DiskError(f"the disk is full while reading {path}: {reason}") from error
        raise BadData(f"{path}: cannot be read, is the file whole? ({reason})") from error
