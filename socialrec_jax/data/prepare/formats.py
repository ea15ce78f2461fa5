"""Which files of a folder are which table: our own names, or one of the public formats."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from socialrec_jax.data.prepare.derived import Replaced
from socialrec_jax.data.prepare.layouts import LAYOUTS
from socialrec_jax.data.prepare.readers import (
    KINDS,
    Source,
    first_line,
    kind_suffix,
    lines,
    readable,
    refuse_twice,
    sources_under,
)
from socialrec_jax.data.prepare.schema import ITEM_CODES, ITEM_IDS, TABLES, USER, Field, match
from socialrec_jax.errors import BadData, InputMissing

log = logging.getLogger(__name__)
OWN_NAMES, RECBOLE = "tables by their own names", "RecBole atomic files"
AMAZON = "Amazon reviews"
FIRST_OBJECTS = 20  # of a JSON file, whose keys say what it is
Tables = dict[str, list[Source]]


@dataclasses.dataclass(frozen=True)
class Found:
    """The tables of a folder, and the format that they were recognised as."""

    title: str
    tables: Tables


_PARTS = {".train": 1, ".valid": 2, ".test": 3}  # in the order of a user's events
ATOMIC_TABLES = {"events": "*.inter", "social": "*.net", "items": "*.item", "users": "*.user"}


def find_tables(
    folder: Path, *, events_required: bool = True, encoding: str | None = None
) -> Tables:
    """The sources of each table that the folder holds; files that are not read are logged.

    events_required: whether a folder under our own names must hold events. encoding: of text files,
    as the user says. InputMissing: no such folder, or no table in any form that we know. BadData: a
    table lies there twice.
    """
    return find(folder, events_required=events_required, encoding=encoding).tables


def find(folder: Path, *, events_required: bool = True, encoding: str | None = None) -> Found:
    """The same with the name of the format."""
    if not folder.is_dir():
        raise InputMissing(
            f"{folder}: no such folder; it should hold events.parquet (or .csv, .tsv, .jsonl)"
        )
    # our own names first: a folder may hold a public format beside what was made of it
    found = Found(OWN_NAMES, _own_names(folder, encoding))
    if not found.tables or ("events" not in found.tables and events_required):
        found = _public(folder, encoding)
        if "events" not in found.tables:
            raise _no_events(folder)
    _name_unread(folder, found.tables)
    return found


def _public(folder: Path, encoding: str | None) -> Found:
    """The first public format that the folder holds."""
    recbole = _recbole(folder)
    if recbole:
        return Found(RECBOLE, recbole)
    return _declared(folder) or Found(AMAZON, _amazon(folder, encoding))


def _no_events(folder: Path) -> InputMissing:
    listed = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    return InputMissing(
        f"{folder}: no events.parquet, .csv, .tsv or .jsonl, nor a RecBole, MovieLens, Amazon "
        f"or HetRec file; found: {listed}"
    )


def _name_unread(folder: Path, tables: Tables) -> None:
    read = {source.path for sources in tables.values() for source in sources}
    unread = [
        path
        for path in sorted(folder.iterdir())
        if path not in read and path.name[0] not in "._" and not _has_any(path, read)
    ]
    if unread:
        names = ", ".join(path.name for path in unread[:8]) + (", ..." if unread[8:] else "")
        log.warning("%s: not read, for no table is known by that name: %s", folder, names)


def _has_any(folder: Path, files: set[Path]) -> bool:
    return any(file.is_relative_to(folder) for file in files)


def _own_names(folder: Path, encoding: str | None) -> Tables:
    tables: Tables = {}
    entries = sorted(folder.iterdir())
    for table in TABLES:
        paths = [path for path in entries if _holds(path, table)]
        # most likely the same rows twice
        if len(paths) > 1:
            listed = " and ".join(path.name for path in paths)
            raise BadData(f"{folder}: {listed} are both {table}; keep one of them")
        if paths:
            tables[table] = sources_under(paths[0], encoding)
    return tables


def _holds(path: Path, table: str) -> bool:
    is_named = path.name.split(".")[0].lower() == table
    return is_named and (path.is_dir() or kind_suffix(path) in KINDS)


def _glob(folder: Path, patterns: Mapping[str, str]) -> dict[str, list[Path]]:
    """The files of each table; none at all where there are no events."""
    files = sorted(folder.iterdir())
    paths = {
        table: [file for file in files if fnmatch.fnmatchcase(file.name.lower(), pattern.lower())]
        for table, pattern in patterns.items()
    }
    if not paths["events"]:
        return {}
    return {table: files for table, files in paths.items() if files}


def _declared(folder: Path) -> Found | None:
    for layout in LAYOUTS:
        patterns = {table: pattern for table, (pattern, _) in layout.tables.items()}
        paths = _glob(folder, patterns)
        if paths:
            tables = {
                table: [Source(file, "text", **layout.tables[table][1]) for file in files]
                for table, files in paths.items()
            }
            return Found(layout.title, tables)
    return None


def _recbole(folder: Path) -> Tables:
    # MovieLens has files u.item and u.user too, but no events under these names
    paths = _glob(folder, ATOMIC_TABLES)
    for files in paths.values():
        _refuse_parts_beside_whole(files)
        files.sort(key=lambda file: (_PARTS.get(file.suffixes[0], 0), file))
    return {
        table: [_atomic(file, TABLES[table]) for file in files] for table, files in paths.items()
    }


def _refuse_parts_beside_whole(files: Sequence[Path]) -> None:
    """BadData: `x.inter` beside `x.train.inter`, which holds some of its rows."""
    names = {file.name: file for file in files}
    for file in files:
        first, *middle = file.suffixes
        whole = file.name.removesuffix("".join([first, *middle])) + file.suffix
        if middle and first in _PARTS and whole in names:
            raise BadData(
                f"{names[whole]} and {file.name} hold the same rows; keep the one or the others"
            )


def _atomic(path: Path, fields: Sequence[Field]) -> Source:
    """Headers such as `genre:token_seq` say what a column holds; blanks separate sequences."""
    # the type is behind the last part of a name, as in `user_id:token`
    header = [cell.strip().partition(":") for cell in first_line(path).split("\t")]
    types = {column: kind for column, _, kind in header}
    columns = match(fields, types)
    sequences = {
        field.name: Replaced(columns[field.name], " ", "|")
        for field in fields
        if field.kind == "list" and types.get(columns.get(field.name, "")) == "token_seq"
    }
    return Source(path, "text", delimiter="\t", quote="", names=tuple(types), derived=sequences)


def _amazon(folder: Path, encoding: str | None) -> Tables:
    """Reviews have a user and an item, metadata an item and a title; both are JSON lines."""
    tables: Tables = {}
    for source in _json_files(folder, encoding):
        keys = _first_keys(source)
        # the files may have any name, so their keys decide
        has_item = bool(match([Field("item", "id", (*ITEM_IDS, *ITEM_CODES))], keys))
        has_user = bool(match([Field("user", "id", USER)], keys))
        if has_item and has_user:
            tables.setdefault("events", []).append(source)
        elif has_item and "title" in keys:
            tables.setdefault("items", []).append(source)
    for sources in tables.values():
        refuse_twice([source.path for source in sources])
    return tables


def _json_files(folder: Path, encoding: str | None) -> list[Source]:
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and KINDS.get(kind_suffix(path)) == "json"
    ]
    return [source for path in paths for source in sources_under(path, encoding)]


def _first_keys(source: Source) -> set[str]:
    """The keys of the first objects; some of them may lack a title."""
    keys: set[str] = set()
    with readable(source.path), contextlib.closing(lines(source)) as all_lines:
        for line in itertools.islice(all_lines, FIRST_OBJECTS):
            # a file of another kind is passed over, not refused
            try:
                record = json.loads(line)
            except ValueError:
                return keys
            keys |= set(record) if isinstance(record, dict) else set()
    return keys
