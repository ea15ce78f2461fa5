"""Which files of a folder are which table: our own names, or one of the public formats, as
declarations.

A layout is recognised by its events file. Fields are found by the synonyms of `schema.py`; a
declaration only says what a file cannot say itself: its delimiter, the names of columns without a
header, text that needs taking apart. HetRec's `user_artists.dat` is left alone: its listens bear no
time, so they would tell a model what comes later.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from socialrec_jax.data.prepare.readers import KINDS, Source, first_line, name, sources_under, text
from socialrec_jax.data.prepare.schema import ITEM, TABLES, USER, Field, match
from socialrec_jax.errors import BadData, InputMissing

Tables = dict[str, list[Source]]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A public format: (glob pattern, options of `Source`) a table."""

    title: str
    tables: Mapping[str, tuple[str, dict]]


def _plain(delimiter: str, *names: str, encoding: str = "utf-8", **columns: str) -> dict:
    """Unquoted text; with names the file has no header."""
    described = {"names": names, "has_header": False} if names else {}
    return {
        "delimiter": delimiter,
        "quote": "",
        "encoding": encoding,
        "columns": columns,
        **described,
    }


FILM = ("item", "title", "released", "video", "url")
GENRES = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
    ),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)
_GENRE_IF_FLAGGED = ", ".join(
    f"CASE {name(genre)} WHEN '1' THEN {text(genre)} END" for genre in GENRES
)
_GENRES_OF_FLAGS = f"concat_ws('|', {_GENRE_IF_FLAGGED})"

LAYOUTS = (
    Layout(
        "MovieLens 100K",
        {
            "events": ("u.data", _plain("\t", "user", "item", "value", "timestamp")),
            "items": (
                "u.item",
                _plain("|", *FILM, *GENRES, encoding="latin-1", tags=_GENRES_OF_FLAGS),
            ),
            "users": ("u.user", _plain("|", "user", "age", "gender", "occupation", "zip")),
        },
    ),
    Layout(
        "MovieLens 1M and 10M",
        {
            "events": ("ratings.dat", _plain("::", "user", "item", "value", "timestamp")),
            "items": ("movies.dat", _plain("::", "item", "title", "tags", encoding="latin-1")),
            "users": ("users.dat", _plain("::", "user", "gender", "age", "occupation", "zip")),
        },
    ),
    Layout("MovieLens 20M and later", {"events": ("ratings.csv", {}), "items": ("movies.csv", {})}),
    Layout(
        "HetRec-2011 Last.fm",
        {
            "events": ("user_taggedartists-timestamps.dat", _plain("\t", event_type="'tag'")),
            "social": ("user_friends.dat", _plain("\t")),
            "items": ("artists.dat", _plain("\t")),
        },
    ),
    Layout(
        "HetRec-2011 Delicious",
        {
            "events": ("user_taggedbookmarks-timestamps.dat", _plain("\t", event_type="'tag'")),
            "social": ("user_contacts-timestamps.dat", _plain("\t")),
            "items": ("bookmarks.dat", _plain("\t", encoding="latin-1")),
        },
    ),
)
ATOMIC_TABLES = {"events": "*.inter", "social": "*.net", "items": "*.item", "users": "*.user"}


def find_tables(folder: Path) -> Tables:
    """The sources of each table that the folder holds.

    InputMissing: no such folder, or no events in any form that we know.
    """
    if not folder.is_dir():
        raise InputMissing(
            f"{folder}: no such folder; it should hold events.parquet (or .csv, .tsv, .jsonl)"
        )
    tables = _own_names(folder) or _recbole(folder) or _declared(folder) or _amazon(folder)
    if "events" not in tables:
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise InputMissing(
            f"{folder}: no events.parquet, .csv, .tsv or .jsonl, nor a RecBole, MovieLens, Amazon or HetRec file; "
            f"found: {found}"
        )
    return tables


def _own_names(folder: Path) -> Tables:
    tables: Tables = {}
    for table in TABLES:
        named = [
            path for path in sorted(folder.glob(f"{table}*")) if path.name.split(".")[0] == table
        ]
        named = [path for path in named if path.is_dir() or KINDS.keys() & set(path.suffixes)]
        if len(named) > 1:  # most likely the same rows twice
            raise BadData(
                f"{folder}: {' and '.join(path.name for path in named)} are both {table}; keep one of them"
            )
        if named:
            tables[table] = sources_under(named[0])
    return tables if "events" in tables else {}


def _declared(folder: Path) -> Tables:
    for layout in LAYOUTS:
        found = {
            table: sorted(folder.glob(pattern)) for table, (pattern, _) in layout.tables.items()
        }
        if found["events"]:
            return {
                table: [Source(path, "text", **layout.tables[table][1]) for path in paths]
                for table, paths in found.items()
                if paths
            }
    return {}


def _recbole(folder: Path) -> Tables:
    found = {table: sorted(folder.glob(pattern)) for table, pattern in ATOMIC_TABLES.items()}
    if not found["events"]:  # MovieLens has files u.item and u.user too
        return {}
    return {
        table: [_atomic(path, TABLES[table]) for path in paths]
        for table, paths in found.items()
        if paths
    }


def _atomic(path: Path, fields: Sequence[Field]) -> Source:
    """Headers such as `genre:token_seq` say what a column holds; sequences are separated by
    blanks.
    """
    header = [cell.strip().partition(":") for cell in first_line(path).split("\t")]
    types = {column: kind for column, _, kind in header}
    lists = {field.name for field in fields if field.kind == "list"}
    sequences = {
        field: f"replace({name(column)}, ' ', '|')"
        for field, column in match(fields, types).items()
        if field in lists and types[column] == "token_seq"
    }
    return Source(path, "text", delimiter="\t", quote="", names=tuple(types), columns=sequences)


def _amazon(folder: Path) -> Tables:
    """Reviews have a user and an item, metadata an item and a title; both are JSON lines under any
    name.
    """
    tables: Tables = {}
    for source in _json_files(folder):
        keys = _first_keys(source)
        of_item = bool(match([Field("item", "id", ITEM)], keys))
        of_user = bool(match([Field("user", "id", USER)], keys))
        if of_item and (of_user or "title" in keys):
            table = "events" if of_user else "items"
            tables.setdefault(table, []).append(source if of_user else _metadata(source, keys))
    return tables


def _metadata(source: Source, keys: Iterable[str]) -> Source:
    """Prices come as "$12.99", "from 12.99" or prose."""
    price = r"try_cast(regexp_extract(replace(price, ',', ''), '\d+(\.\d+)?') AS FLOAT)"
    return dataclasses.replace(
        source, columns={"price": f"coalesce({price}::VARCHAR, '')"} if "price" in keys else {}
    )


def _json_files(folder: Path) -> list[Source]:
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and {".json", ".jsonl"} & set(path.suffixes)
    ]
    return [source for path in paths for source in sources_under(path)]


def _first_keys(source: Source) -> list[str]:
    try:
        first = json.loads(first_line(source.path))
    except ValueError:
        return []
    return list(first) if isinstance(first, dict) else []
