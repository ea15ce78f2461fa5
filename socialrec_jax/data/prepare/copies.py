"""Files that no engine reads as they lie are copied to plain lines first."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

from socialrec_jax.data.prepare.expansions import Expansion
from socialrec_jax.data.prepare.nanoseconds import with_nanoseconds
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
    if not source.path.stat().st_size:
        return source
    # a document of JSON is copied before its lists are looked for
    if source.copy and not source.expansion:
        return source
    if source.kind == "parquet":
        return with_nanoseconds(source, folder / f"{number}.parquet")
    copy = folder / f"{number}.txt"
    if source.expansion:
        return _expanded(source, source.expansion, copy)
    if _has_blanks_before_quotes(source):
        return _without_blanks(source, copy)

    names, is_json = _quoted_names(source), source.kind == "json"
    if names or needs_copy(source.path, source.encoding, is_json):
        # most files need no copy, so the folder is made with the first that does
        folder.mkdir(exist_ok=True)
        write_copy(
            source.path, source.encoding, is_json, copy, header=source.skip if names else None
        )
        names = names or source.names
        return dataclasses.replace(source, copy=copy, encoding="utf-8", names=names)
    return _with_all_columns(source)


def _with_all_columns(source: Source) -> Source:
    """The source, read with all columns where its bytes may be no text."""
    is_plain = source.kind == "text" and source.encoding == "utf-8"
    if is_plain and not is_clean(source.path):
        return dataclasses.replace(source, all_columns=True)
    return source


def _expanded(source: Source, expansion: Expansion, copy: Path) -> Source:
    """The source, with a copy that has one row a line."""
    copy.parent.mkdir(exist_ok=True)
    with readable(source.path), copy.open("w", encoding="utf-8", newline="") as file:
        rows = (row for _, row in expansion.rows(lines(source)))
        if expansion.is_json:
            file.writelines(row[0] + "\n" for row in rows)
        else:
            csv.writer(file, lineterminator="\n").writerows(rows)
    # the copy is a plain table, whatever the file was
    kind = "json" if expansion.is_json else "text"
    plain = Source(source.path, kind, copy=copy, expanded=source.copy, has_header=False)
    names = expansion.names or source.names
    # a copy has no lines before its rows, but the lines of the file are counted with them
    return dataclasses.replace(
        plain,
        expansion=expansion,
        skip=source.skip,
        names=names,
        derived=source.derived,
        partitions=source.partitions,
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


def _without_blanks(source: Source, copy: Path) -> Source:
    """The source, with a copy whose cells begin without blanks."""
    copy.parent.mkdir(exist_ok=True)
    # a description may be longer than the 128 KiB that Python allows by default
    csv.field_size_limit(2**31 - 1)
    separator, quote = source.delimiter, source.quote
    cells = csv.reader(
        (part + "\n" for line in lines(source) for part in line.split("\r")),
        delimiter=separator,
        quotechar=quote,
        escapechar=source.escape,
        skipinitialspace=True,
    )
    with readable(source.path, csv.Error), copy.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator, quotechar=quote, lineterminator="\n")
        writer.writerows(cells)
    # csv writes quotes twice, so what escaped them before is gone, as are skipped lines
    return dataclasses.replace(source, copy=copy, encoding="utf-8", escape=None, skip=0)


def _quoted_names(source: Source) -> tuple[str, ...]:
    """The header's names where some hold quotes, which may confuse a reader; else none."""
    if source.kind != "text" or not source.quote or source.names:
        return ()
    if source.quote not in first_line(source):
        return ()
    names = header_of(source)
    return tuple(names) if any(source.quote in name for name in names) else ()
