"""Files that no engine reads as they lie are copied to plain lines first."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

from socialrec_jax.data.prepare.expansions import Expansion
from socialrec_jax.data.prepare.readers import Source, first_line, header_of, lines
from socialrec_jax.data.prepare.text_files import (
    first_text,
    is_clean,
    needs_copy,
    readable,
    write_copy,
)


def for_engine(source: Source, folder: Path, number: int) -> Source:
    """The source, with a copy in the folder where an engine cannot read the file as it lies."""
    # an empty file is named by the engine that reads it
    is_json = source.kind == "json"
    if source.kind == "parquet" or not source.path.stat().st_size:
        return source
    if source.expansion:
        return _expanded(source, source.expansion, folder, number)
    if _has_blanks_before_quotes(source):
        return _without_blanks(source, folder, number)
    names = _quoted_names(source)
    if not names and not needs_copy(source.path, source.encoding, is_json):
        may_be_bad = not is_json and source.encoding == "utf-8" and not is_clean(source.path)
        return dataclasses.replace(source, all_columns=True) if may_be_bad else source
    # most files need no copy, so the folder is made with the first that does
    folder.mkdir(exist_ok=True)
    copy = folder / f"{number}.txt"
    write_copy(source.path, source.encoding, is_json, copy, skip_first=bool(names))
    return dataclasses.replace(source, copy=copy, encoding="utf-8", names=names or source.names)


def _expanded(source: Source, expansion: Expansion, folder: Path, number: int) -> Source:
    """The source, with a copy that has one row a line."""
    folder.mkdir(exist_ok=True)
    copy = folder / f"{number}.txt"
    with readable(source.path), copy.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(row for _, row in expansion.rows(lines(source)))
    return dataclasses.replace(
        source,
        kind="text",
        delimiter=",",
        quote='"',
        encoding="utf-8",
        names=expansion.names or source.names,
        has_header=False,
        copy=copy,
    )


def _has_blanks_before_quotes(source: Source) -> bool:
    """Whether cells such as `, "a"` occur in the first lines: to an engine, quotes are not special
    there.
    """
    if source.kind != "text" or not source.quote or len(source.delimiter) > 1:
        return False
    quote, begin = re.escape(source.quote), f"(^|{re.escape(source.delimiter)})"
    text = first_text(source.path, source.encoding)
    # what is quoted may hold anything
    outside = re.sub(f"{begin}{quote}([^{quote}]|{quote}{quote})*{quote}", r"\1", text, flags=re.M)
    return bool(re.search(f"{begin} +{quote}(?!{quote})", outside, flags=re.M))


def _without_blanks(source: Source, folder: Path, number: int) -> Source:
    """The source, with a copy whose cells begin without blanks."""
    folder.mkdir(exist_ok=True)
    copy = folder / f"{number}.txt"
    csv.field_size_limit(2**31 - 1)
    ended = (part + "\n" for line in lines(source) for part in line.split("\r"))
    with readable(source.path, csv.Error), copy.open("w", encoding="utf-8", newline="") as file:
        cells = csv.reader(
            ended,
            delimiter=source.delimiter,
            quotechar=source.quote,
            escapechar=source.escape,
            skipinitialspace=True,
        )
        # csv doubles quotes, so what escaped them before is gone
        writer = csv.writer(
            file, delimiter=source.delimiter, quotechar=source.quote, lineterminator="\n"
        )
        writer.writerows(cells)
    return dataclasses.replace(source, copy=copy, encoding="utf-8", escape=None)


def _quoted_names(source: Source) -> tuple[str, ...]:
    """The header's names where some hold quotes, which may confuse a reader; else none."""
    if source.kind != "text" or not source.quote or source.names:
        return ()
    if source.quote not in first_line(source.path, source.encoding):
        return ()
    names = header_of(source)
    return tuple(names) if any(source.quote in name for name in names) else ()
