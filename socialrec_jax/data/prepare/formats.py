"""Which files of a folder are which table: our own names, or one of the public formats."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from socialrec_jax.data.prepare.by_content import by_content
from socialrec_jax.data.prepare.layouts.catalogue import LAYOUTS
from socialrec_jax.data.prepare.locations import refuse_address, refuse_lake
from socialrec_jax.data.prepare.readers import (
    KINDS,
    Source,
    Tables,
    glob,
    kind_suffix,
    refuse_twice,
    sources_under,
)
from socialrec_jax.data.prepare.recbole import atomic_tables
from socialrec_jax.data.prepare.schema import TABLES
from socialrec_jax.data.prepare.sniffing import TextOptions
from socialrec_jax.errors import BadData, InputMissing

__all__ = ["Tables", "find", "find_tables"]  # for those who look for tables
log = logging.getLogger(__name__)
_OTHER_KINDS = {
    *(".xlsx", ".xls", ".ods", ".feather", ".arrow", ".avro", ".orc", ".pkl", ".h5", ".npz"),
    *(".bz2", ".xz", ".7z", ".rar", ".tar", ".tgz", ".mat", ".rds", ".sas7bdat", ".dta"),
}
_READ_LATER = "recommended"  # what was shown is read when the World is there: `data/recommended.py`
OWN_NAMES, RECBOLE = "tables by their own names", "RecBole atomic files"


@dataclasses.dataclass(frozen=True)
class Found:
    """The tables of a folder, and the format that they were recognised as."""

    title: str
    tables: Tables


def find_tables(
    folder: Path, *, events_required: bool = True, options: TextOptions | None = None
) -> Tables:
    """The sources of each table that the folder holds; files that are not read are logged.

    events_required: whether a folder under our own names must hold events. options: of text files,
    as the user says. InputMissing: no such folder, or no table in any form that we know. BadData: a
    table lies there twice.
    """
    return find(folder, events_required=events_required, options=options).tables


def find(
    folder: Path, *, events_required: bool = True, options: TextOptions | None = None
) -> Found:
    """The same with the name of the format."""
    refuse_address(folder)
    if not folder.is_dir():
        raise InputMissing(
            f"{folder}: no such folder; it should hold events.parquet (or .csv, .tsv, .jsonl)"
        )
    # our own names first: a folder may hold a public format beside what was made of it
    found = Found(OWN_NAMES, _own_names(folder, options))
    if not found.tables or ("events" not in found.tables and events_required):
        found = _public(folder, options)
        if "events" not in found.tables:
            raise _no_events(folder)
    _name_unread(folder, found.tables)
    return found


def _public(folder: Path, options: TextOptions | None) -> Found:
    """The first public format that the folder holds."""
    recbole = atomic_tables(folder)
    if recbole:
        return Found(RECBOLE, recbole)
    declared = _declared(folder, options)
    if declared:
        return declared
    title, tables = by_content(folder, options)
    return Found(title, tables)


def _no_events(folder: Path) -> InputMissing:
    listed = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    deeper = sorted({file.parent for file in folder.glob("*/events.*")})
    if deeper:
        listed += f"; {deeper[0]} holds events: name that folder"
    unread = [file.name for file in folder.iterdir() if file.suffix.lower() in _OTHER_KINDS]
    if unread:
        listed += f"; {unread[0]} is of a kind that is not read: save it as .csv or .parquet"
    return InputMissing(
        f"{folder}: no events.parquet, .csv, .tsv or .jsonl, nor a public format (python -m "
        f"socialrec_jax.data formats lists them); found: {listed}"
    )


def _name_unread(folder: Path, tables: Tables) -> None:
    read = {source.path for sources in tables.values() for source in sources}
    unread = [
        path
        for path in sorted(folder.iterdir())
        if path not in read and path.name[0] not in "._" and not _has_any(path, read)
        if path.name.split(".")[0] != _READ_LATER
    ]
    if unread:
        names = ", ".join(path.name for path in unread[:8]) + (", ..." if unread[8:] else "")
        log.warning("%s: not read, for no table is known by that name: %s", folder, names)


def _has_any(folder: Path, files: set[Path]) -> bool:
    return any(file.is_relative_to(folder) for file in files)


def _own_names(folder: Path, options: TextOptions | None) -> Tables:
    tables: Tables = {}
    entries = sorted(folder.iterdir())
    for table in TABLES:
        paths = [path for path in entries if _holds(path, table)]
        # most likely the same rows twice
        if len(paths) > 1:
            listed = " and ".join(path.name for path in paths)
            raise BadData(f"{folder}: {listed} are both {table}; keep one of them")
        if paths:
            refuse_lake(paths[0])
            tables[table] = sources_under(paths[0], options)
    return tables


def _holds(path: Path, table: str) -> bool:
    is_named = path.name.split(".")[0].lower() == table
    return is_named and (path.is_dir() or kind_suffix(path) in KINDS)


def _declared(folder: Path, options: TextOptions | None) -> Found | None:
    for layout in LAYOUTS:
        if all(glob(folder, pattern) for pattern in layout.also_needs):
            tables = {
                table: [
                    _as_declared(path, files.options, options)
                    for files in of_table
                    for path in glob(folder, files.pattern)
                ]
                for table, of_table in layout.tables.items()
            }
            if tables["events"]:
                return Found(layout.title, _checked(tables))
    return None


def _as_declared(path: Path, form: Mapping[str, Any], options: TextOptions | None) -> Source:
    """How a file of a public format is read. What the layout leaves open the file says."""
    kind = KINDS.get(kind_suffix(path), "text")
    if options and options.encoding is not None:
        form = {**form, "encoding": options.encoding}
    return Source(path, kind, **form)


def _checked(tables: Tables) -> Tables:
    """The tables that have files. BadData: one lies there twice, plain and packed."""
    for sources in tables.values():
        refuse_twice([source.path for source in sources])
    return {table: sources for table, sources in tables.items() if sources}
