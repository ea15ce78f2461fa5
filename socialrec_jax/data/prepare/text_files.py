"""Bytes to lines: compression, encoding, line ends, and a copy where an engine cannot read a file.

An engine reads UTF-8 and Latin-1 with the line ends of Unix and Windows. All else (UTF-16, line
ends of a bare carriage return, one JSON array instead of lines, zip archives) is copied to lines
of UTF-8 first.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from socialrec_jax.errors import BadData, DiskError, UsageError

CHUNK = 1 << 20  # bytes read at a time
HEAD = 1 << 16  # bytes that encoding and line ends are recognised by
MAX_LINE = 1 << 25  # characters
_LONG_LINE = "{}: holds a line of more than " + f"{MAX_LINE:,} characters"
MAX_DOCUMENT = 1 << 28  # letters of a JSON document, which must be in memory at once
_AFTER = re.compile(r"[\s,]*")  # what may stand between two objects
PLAIN_ENCODINGS = ("utf-8", "latin-1")
# how files of other kinds begin
_NO_TEXT = {
    b"\x1f\x8b": "it is packed, so its name should end with .gz",
    b"\x28\xb5\x2f\xfd": "it is packed, so its name should end with .zst",
    b"PK\x03\x04": "it is a zip archive or a workbook: call it .zip, or save it as .csv",
    b"PAR1": "it is parquet, so its name should end with .parquet",
    b"SQLite format 3": "it is a database: fetch its tables, see docs/data.md",
}
# UTF-32 first: its little-endian mark begins with that of UTF-16
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def open_bytes(path: Path) -> IO[bytes]:
    """A file for reading, decompressed by its suffix."""
    openers = {".gz": gzip.open, ".zst": zstandard.open, ".zip": _open_member}
    opener: Any = openers.get(path.suffix.lower(), Path.open)
    return opener(path, "rb")


def _open_member(path: Path, _: str) -> IO[bytes]:
    return zipfile.ZipFile(path).open(only_member(path))


def only_member(path: Path) -> str:
    """The name of the one file in a zip archive. BadData: there are more, or it is no archive."""
    with readable(path), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise BadData(f"{path}: the archive holds {len(names)} files, not one: unpack it first")
    return names[0]


def refuse_other_kinds(path: Path) -> None:
    """BadData: the file is no text, whatever its name says."""
    head = _head(path)
    for begin, advice in _NO_TEXT.items():
        if head.startswith(begin):
            raise BadData(f"{path} is no text: {advice}")


def encoding_of(path: Path, option: str | None) -> str:
    """The encoding of a text file: what the user says, else what its first bytes say, else UTF-8.

    UsageError: the user says one that does not exist.
    """
    if option is not None:
        return _known_encoding(option)
    head = _head(path)
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    # text of Latin letters in UTF-16 has a zero in every second byte, and none between
    even, odd = head[0:200:2].count(0), head[1:200:2].count(0)
    if max(even, odd) > len(head[:200]) // 3 and not min(even, odd):
        return "utf-16-le" if odd else "utf-16-be"
    return "utf-8"


def _known_encoding(option: str) -> str:
    try:
        name = codecs.lookup(option).name
    except LookupError:
        raise UsageError(f"--data.encoding {option}: there is no such encoding") from None
    # programs of Windows say latin-1 of text that has its quotes and its euro sign, too
    return {"iso8859-1": "cp1252"}.get(name, name)


def _head(path: Path) -> bytes:
    with readable(path), open_bytes(path) as file:
        return file.read(HEAD)


def first_text(path: Path, encoding: str) -> str:
    """The begin of a text file."""
    return _head(path).decode(encoding, errors="replace")


def text_lines(path: Path, encoding: str) -> Generator[str, None, None]:
    """The lines of a text file, undecodable bytes replaced; a bare carriage return ends none.

    BadData: a line is longer than any table has, so that memory stays bounded.
    """
    with open_bytes(path) as raw:
        named = "utf-8-sig" if encoding == "utf-8" else encoding
        file = io.TextIOWrapper(raw, encoding=named, errors="replace", newline="\n")
        while line := file.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                raise BadData(_LONG_LINE.format(path))
            yield line.rstrip("\r\n")


def needs_copy(path: Path, encoding: str, is_json: bool) -> bool:
    """Whether an engine cannot read the file as it lies."""
    head = _head(path)
    bare_returns = b"\r" in head and b"\n" not in head
    # DuckDB stops at the second kind of line end
    mixed = b"\r\n" in head and head.count(b"\n") > head.count(b"\r\n")
    is_document = is_json and _is_document(head)
    is_zip = path.suffix.lower() == ".zip"
    return encoding not in PLAIN_ENCODINGS or bare_returns or mixed or is_document or is_zip


def _is_document(head: bytes) -> bool:
    """Whether JSON is one array, or objects that run over several lines."""
    text = head.decode(errors="replace").lstrip("\ufeff \t\r\n")
    first, *others = text.split("\n", 1)
    # a file of one line is an object a line
    return text.startswith("[") or (first.rstrip().endswith("{") and bool(others))


def write_copy(
    path: Path, encoding: str, is_json: bool, copy: Path, *, header: int | None = None
) -> None:
    """Write the file's lines as UTF-8; the objects of a JSON document as one line each.

    header: the place of a line from 0 that a word is written for.
    """
    named = "utf-8-sig" if encoding == "utf-8" else encoding
    with readable(path), open_bytes(path) as raw, copy.open("w", encoding="utf-8") as out:
        text = io.TextIOWrapper(raw, encoding=named, errors="replace", newline=None)
        if header is not None:
            out.writelines(text.readline() for _ in range(header))
            text.readline()
            out.write("header\n")
        if is_json and _is_document(_head(path)):
            out.writelines(
                json.dumps(record) + "\n" for record in _records(path, text.read(MAX_DOCUMENT))
            )
            return
        while chunk := text.read(CHUNK):
            out.write(chunk)


def _records(path: Path, text: str) -> list:
    """The objects of a document: of one array, or one after the other."""
    decoder, records, place = json.JSONDecoder(), [], 0
    text = text.strip("\ufeff \t\r\n")
    try:
        while place < len(text):
            value, end = decoder.raw_decode(text, place)
            records += value if isinstance(value, list) else [value]
            after = _AFTER.match(text, end)
            place = after.end() if after else end
    except ValueError as error:
        raise BadData(
            f"{path}: one JSON array that cannot be read ({error}): write one object a line"
        ) from error
    return records


def is_clean(path: Path) -> bool:
    """Whether a plain file is UTF-8 throughout; an archive is not looked at."""
    if path.suffix.lower() in (".gz", ".zst", ".zip"):
        return False
    # incremental, because a letter of several bytes may lie across two chunks
    decoder = codecs.getincrementaldecoder("utf-8")()
    with readable(path), path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def verify_whole(path: Path, *, is_text: bool = True) -> None:
    """Read a file once whose damage an engine may take for a short table.

    Archives are unpacked, and text must have line ends, for an engine drops what follows a line
    that is larger than its buffer. Raises OSError, EOFError, zlib.error or zstandard.ZstdError
    unless the file is whole. BadData: a line is longer than MAX_LINE.
    """
    if path.stat().st_size == 0:
        raise EOFError("the file is empty")
    suffix = path.suffix.lower()
    if suffix == ".zst":
        _verify_zstd(path)
    is_archive = suffix in (".gz", ".zst", ".zip")
    if is_text and (is_archive or path.stat().st_size > MAX_LINE):
        _verify_lines(path)


def _verify_lines(path: Path) -> None:
    without_end = 0
    with open_bytes(path) as file:
        while chunk := file.read(CHUNK):
            has_end = b"\n" in chunk or b"\r" in chunk
            without_end = 0 if has_end else without_end + len(chunk)
            if without_end >= MAX_LINE:
                raise BadData(_LONG_LINE.format(path))


def _verify_zstd(path: Path) -> None:
    """A stream reader takes a cut for the end, so each frame must say that it is complete."""
    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            while chunk:
                # a file may hold several frames one after the other
                if frame.eof:
                    frame = decompressor.decompressobj()
                frame.decompress(chunk)
                chunk = frame.unused_data
    if not frame.eof:
        raise EOFError("the Zstandard stream ends in the middle of a block")


@contextlib.contextmanager
def readable(path: Path, *engine_errors: type[Exception]) -> Iterator[None]:
    """Say in one line what a library, the system or an engine says of a file it cannot read."""
    archive_errors = (zlib.error, zstandard.ZstdError, zipfile.BadZipFile, UnicodeError)
    try:
        yield
    except (OSError, EOFError, *archive_errors, *engine_errors) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        # the engine spills to disk while it reads
        if "No space left" in reason:
            raise DiskError(f"the disk is full while reading {path}: {reason}") from error
        raise BadData(f"{path}: cannot be read, is the file whole? ({reason})") from error
