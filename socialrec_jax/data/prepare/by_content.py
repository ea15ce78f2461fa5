"""Files of any name whose first lines say what they hold.

JSON lines of Amazon may come in many files, one a category. Of text files one a table is read:
two of them could hold the same rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from socialrec_jax.data.prepare.expansions import SEQUENCES
from socialrec_jax.data.prepare.published_splits import are_parts, note_joined, place_of
from socialrec_jax.data.prepare.readers import (
    KINDS,
    Source,
    Tables,
    header_of,
    kind_suffix,
    lines,
    readable,
    refuse_twice,
    sources_under,
)
from socialrec_jax.data.prepare.schema import (
    ITEM_CODES,
    ITEM_IDS,
    TABLES,
    USER,
    Field,
    edge_ends,
    match,
)
from socialrec_jax.data.prepare.sniffing import TextOptions
from socialrec_jax.errors import BadData

FIRST_LINES = 20  # of a file, which say what it is
_RATING = re.compile(r"([A-Z0-9]{9,}),([A-Z0-9]{9,}),[0-5](?:[.][0-9])?,[0-9]{9,10}")
# of a core of users and items with 5 events and more, and of Goodreads
_SUBSET = re.compile("_(5|10)$|_(reviews|interactions|reviews_dedup|interactions_dedup)(?=_|$)")
ITEM_LETTERS = 10  # of Amazon's codes of items
AMAZON_RATINGS = "Amazon ratings"
AMAZON, ANY_NAME = "Amazon reviews", "tables known by their columns"
SEQUENCES_TITLE = "sequences of items, one user a line"


def by_content(folder: Path, options: TextOptions | None) -> tuple[str, Tables]:
    """The name of the format and the sources of each table; no events where none are known.

    BadData: several files could be one table.
    """
    tables = _amazon(folder, options)
    if "events" in tables:
        return AMAZON, tables
    texts = _sources(folder, options, "text")
    ratings = [named for source in texts if (named := _amazon_ratings(source))]
    if ratings:
        return AMAZON_RATINGS, {"events": ratings}
    tables = _text_tables(folder, texts)
    if "events" in tables:
        return ANY_NAME, tables
    # last, because columns of numbers may look like sequences
    return SEQUENCES_TITLE, _sequences(texts)


def _sources(folder: Path, options: TextOptions | None, kind: str) -> list[Source]:
    paths = [
        path
        for path in sorted(folder.iterdir())
        # an empty file is nothing that could be known
        if path.is_file() and path.stat().st_size and path.name[0] not in "._"
    ]
    of_kind = [path for path in paths if KINDS.get(kind_suffix(path)) == kind]
    return [source for path in of_kind for source in sources_under(path, options)]


def _amazon(folder: Path, options: TextOptions | None) -> Tables:
    """Reviews have a user and an item, metadata an item and a title; both are JSON lines."""
    tables: Tables = {}
    for source in _sources(folder, options, "json"):
        keys = _first_keys(source)
        # the files may have any name, so their keys decide
        has_item = bool(match([Field("item", "id", (*ITEM_IDS, *ITEM_CODES))], keys))
        has_user = bool(match([Field("user", "id", USER)], keys))
        if has_item and has_user:
            tables.setdefault("events", []).append(source)
        elif has_item and "title" in keys:
            tables.setdefault("items", []).append(source)
    for sources in tables.values():
        _refuse_same_rows([source.path for source in sources])
    return tables


def _refuse_same_rows(paths: Sequence[Path]) -> None:
    refuse_twice(paths)
    _refuse_subsets(paths)


def _refuse_subsets(paths: Sequence[Path]) -> None:
    """BadData: Books_5.json beside Books.json, whose rows it repeats, or reviews beside the
    interactions that they are a part of.
    """
    whole: dict[str, Path] = {}
    for path in paths:
        name = _SUBSET.sub("", path.name.split(".")[0])
        if name in whole:
            raise BadData(
                f"{whole[name]} and {path.name} most likely hold the same rows, one of them a part "
                "of the other's; keep one of them"
            )
        whole[name] = path


def _first_keys(source: Source) -> set[str]:
    """The keys of the first objects; some of them may lack a title."""
    keys: set[str] = set()
    for line in _first_lines(source):
        # a file of another kind is passed over, not refused
        try:
            record = json.loads(line)
        except ValueError:
            return keys
        keys |= set(record) if isinstance(record, dict) else set()
    return keys


def _first_lines(source: Source) -> list[str]:
    with readable(source.path), contextlib.closing(lines(source)) as all_lines:
        return list(itertools.islice(all_lines, FIRST_LINES))


def _amazon_ratings(source: Source) -> Source | None:
    """Ratings without a header: user, item, rating, time in 2014, item and user first in 2018."""
    rows = [_RATING.fullmatch(line) for line in _first_lines(source)]
    if not rows or not all(rows):
        return None
    # codes of items have ten letters, those of users more
    first, second = ({len(row[place]) for row in rows if row} for place in (1, 2))
    ids = ("item", "user") if first == {ITEM_LETTERS} and second != first else ("user", "item")
    return dataclasses.replace(source, names=(*ids, "value", "timestamp"), has_header=False)


def _text_tables(folder: Path, sources: list[Source]) -> Tables:
    tables: Tables = {}
    for source in sources:
        table = _table_of(source)
        if table:
            tables.setdefault(table, []).append(source)
    for table, candidates in tables.items():
        files = [source.path for source in candidates]
        if table == "events" and are_parts(files):
            candidates.sort(key=lambda source: place_of(source.path))
            note_joined(files)
        elif len(candidates) > 1:
            names = " and ".join(source.path.name for source in candidates)
            raise BadData(
                f"{folder}: {names} could all be {table}: call one of them {table}.csv, or put "
                f"parts of one table into a folder {table}/"
            )
    return tables


def _table_of(source: Source) -> str | None:
    """The table that a file's header fits."""
    try:
        columns = header_of(source)
    # another kind of file, which is named as not read
    except BadData:
        return None
    if _has(columns, "events", {"user", "item", "timestamp"}):
        return "events"
    # before items: friends may have a column called name
    if edge_ends(columns):
        return "social"
    return "items" if _has(columns, "items", {"item", "title"}) else None


def _has(columns: Collection[str], table: str, needed: set[str]) -> bool:
    return needed <= match(TABLES[table], columns).keys()


def _sequences(sources: list[Source]) -> Tables:
    """One text file of numbers, with more of them in some lines than in others."""
    found = [source for source in sources if _is_sequences(source)]
    if len(found) != 1:
        return {}
    return {"events": [dataclasses.replace(found[0], expansion=SEQUENCES)]}


def _is_sequences(source: Source) -> bool:
    rows = [line.split() for line in _first_lines(source)]
    all_numbers = all(cell.isdigit() for row in rows for cell in row)
    return all_numbers and len({len(row) for row in rows}) > 1 and max(map(len, rows)) > 2
