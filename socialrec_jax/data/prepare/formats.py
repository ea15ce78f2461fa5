"""Which files of a folder are which table: our own names, or one of the public formats.

A layout is recognised by its events file. Fields are matched by the synonyms of `schema.py`; a
layout only says what a file cannot say itself: its delimiter, the names of columns without a
header, text that needs taking apart. HetRec's `user_artists.dat` is left out: its listens have no
time, so they would tell a model what comes later.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from socialrec_jax.data.prepare.readers import (
    KINDS,
    Constant,
    Derived,
    FlaggedColumns,
    Replaced,
    Source,
    first_line,
    sources_under,
)
from socialrec_jax.data.prepare.schema import ITEM, TABLES, USER, Field, match
from socialrec_jax.errors import BadData, InputMissing

Tables = dict[str, list[Source]]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A public format: (glob pattern, options of `Source`) a table."""

    title: str
    tables: Mapping[str, tuple[str, dict]]


def _plain(delimiter: str, *names: str, encoding: str = "utf-8", **derived: Derived) -> dict:
    """Unquoted text; with names the file has no header."""
    options = {"delimiter": delimiter, "quote": "", "encoding": encoding, "derived": derived}
    if names:
        options |= {"names": names, "has_header": False}
    return options


FILM = ("item", "title", "released", "video", "url")
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
RATINGS = ("user", "item", "value", "timestamp")
TAG = Constant("tag")

LAYOUTS = (
    Layout(
        "MovieLens 100K",
        {
            "events": ("u.data", _plain("\t", *RATINGS)),
            "items": (
                "u.item",
                _plain("|", *FILM, *GENRES, encoding="latin-1", tags=FlaggedColumns(GENRES)),
            ),
            "users": ("u.user", _plain("|", "user", "age", "gender", "occupation", "zip")),
        },
    ),
    Layout(
        "MovieLens 1M and 10M",
        {
            "events": ("ratings.dat", _plain("::", *RATINGS)),
            "items": ("movies.dat", _plain("::", "item", "title", "tags", encoding="latin-1")),
            "users": ("users.dat", _plain("::", "user", "gender", "age", "occupation", "zip")),
        },
    ),
    Layout("MovieLens 20M and later", {"events": ("ratings.csv", {}), "items": ("movies.csv", {})}),
    Layout(
        "HetRec-2011 Last.fm",
        {
            "events": ("user_taggedartists-timestamps.dat", _plain("\t", event_type=TAG)),
            "social": ("user_friends.dat", _plain("\t")),
            "items": ("artists.dat", _plain("\t")),
        },
    ),
    Layout(
        "HetRec-2011 Delicious",
        {
            "events": ("user_taggedbookmarks-timestamps.dat", _plain("\t", event_type=TAG)),
            "social": ("user_contacts-timestamps.dat", _plain("\t")),
            "items": ("bookmarks.dat", _plain("\t", encoding="latin-1")),
        },
    ),
)
ATOMIC_TABLES = {"events": "*.inter", "social": "*.net", "items": "*.item", "users": "*.user"}


def find_tables(folder: Path, *, events_required: bool = True) -> Tables:
    """The sources of each table that the folder holds.

    events_required: whether a folder under our own names must hold events. InputMissing: no such
    folder, or no table in any form that we know.
    """
    if not folder.is_dir():
        raise InputMissing(
            f"{folder}: no such folder; it should hold events.parquet (or .csv, .tsv, .jsonl)"
        )
    # our own names first: a folder may hold a public format beside what was made of it
    own = _own_names(folder)
    if own and ("events" in own or not events_required):
        return own
    tables = _recbole(folder) or _declared(folder) or _amazon(folder)
    if "events" not in tables:
        listed = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise InputMissing(
            f"{folder}: no events.parquet, .csv, .tsv or .jsonl, nor a RecBole, MovieLens, Amazon "
            f"or HetRec file; found: {listed}"
        )
    return tables


def _own_names(folder: Path) -> Tables:
    tables: Tables = {}
    for table in TABLES:
        paths = [path for path in sorted(folder.glob(f"{table}*")) if _holds(path, table)]
        # most likely the same rows twice
        if len(paths) > 1:
            listed = " and ".join(path.name for path in paths)
            raise BadData(f"{folder}: {listed} are both {table}; keep one of them")
        if paths:
            tables[table] = sources_under(paths[0])
    return tables


def _holds(path: Path, table: str) -> bool:
    is_named = path.name.split(".")[0] == table
    return is_named and (path.is_dir() or bool(KINDS.keys() & set(path.suffixes)))


def _glob(folder: Path, patterns: Mapping[str, str]) -> dict[str, list[Path]]:
    """The files of each table; none at all where there are no events."""
    paths = {table: sorted(folder.glob(pattern)) for table, pattern in patterns.items()}
    if not paths["events"]:
        return {}
    return {table: files for table, files in paths.items() if files}


def _declared(folder: Path) -> Tables:
    for layout in LAYOUTS:
        patterns = {table: pattern for table, (pattern, _) in layout.tables.items()}
        paths = _glob(folder, patterns)
        if paths:
            return {
                table: [Source(file, "text", **layout.tables[table][1]) for file in files]
                for table, files in paths.items()
            }
    return {}


def _recbole(folder: Path) -> Tables:
    # MovieLens has files u.item and u.user too, but no events under these names
    paths = _glob(folder, ATOMIC_TABLES)
    return {
        table: [_atomic(file, TABLES[table]) for file in files] for table, files in paths.items()
    }


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


def _amazon(folder: Path) -> Tables:
    """Reviews have a user and an item, metadata an item and a title; both are JSON lines."""
    tables: Tables = {}
    for source in _json_files(folder):
        keys = _first_keys(source)
        # the files may have any name, so their keys decide
        has_item = bool(match([Field("item", "id", ITEM)], keys))
        has_user = bool(match([Field("user", "id", USER)], keys))
        if has_item and has_user:
            tables.setdefault("events", []).append(source)
        elif has_item and "title" in keys:
            tables.setdefault("items", []).append(source)
    return tables


def _json_files(folder: Path) -> list[Source]:
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and {".json", ".jsonl"} & set(path.suffixes)
    ]
    return [source for path in paths for source in sources_under(path)]


def _first_keys(source: Source) -> list[str]:
    # a file of another kind is passed over, not refused
    try:
        first = json.loads(first_line(source.path))
    except ValueError:
        return []
    return list(first) if isinstance(first, dict) else []
