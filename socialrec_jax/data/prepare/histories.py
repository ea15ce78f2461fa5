"""What serving reads besides a World: histories of users never seen, and lists of ids.

The histories take the same path as training data (same synonyms, checks, filled times, stable
order); only their items and event types are numbered by the World that the model was trained on.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from socialrec_jax.config import DataConfig
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare import build, rejects, schema, staging
from socialrec_jax.data.prepare.formats import find_tables
from socialrec_jax.data.prepare.readers import (
    Source,
    columns_of,
    lines,
    name,
    one_line,
    relation,
    sources_under,
)
from socialrec_jax.data.world import Events, World
from socialrec_jax.errors import BadData, InputMissing

log = logging.getLogger(__name__)


def raw_events(path: Path, world: World) -> tuple[Strings, Events]:
    """Users of an events table (a file, or a data folder) by first appearance, and their events.

    Items that the World does not know are dropped, event types that it does not know become type 0;
    both are logged with their number. Users keep their place even when no event is left. Errors as
    in `prepare`.
    """
    sources = find_tables(path)["events"] if path.is_dir() else sources_under(path)
    with tempfile.TemporaryDirectory() as folder, staging.scratch(Path(folder)) as con:
        staged = staging.stage(con, "events", sources)
        rejects.settle(con, staged, DataConfig(**world.manifest.get("data", {})).max_bad_share)
        build.fill_times(con)
        con.execute("CREATE TABLE user_ids AS SELECT user AS id, row_number() OVER (ORDER BY min(row)) - 1 AS number "
                    "FROM events GROUP BY user ORDER BY number")  # fmt: skip
        con.execute("CREATE TABLE item_ids AS SELECT DISTINCT item AS id, 0 AS number FROM events")
        return _numbered(con, world)


def _numbered(con, world: World) -> tuple[Strings, Events]:
    names = build.name_event_types(con)
    user_ids, item_ids = (build.strings(con, table, "id") for table in ("user_ids", "item_ids"))
    con.execute("UPDATE item_ids SET number = rowid")
    events = build.events(con, len(user_ids))
    items = world.items.ids.lookup(item_ids)[events.items]
    types = np.array(
        [world.event_types.index(kind) if kind in world.event_types else -1 for kind in names]
    )
    known, type_known = items >= 0, types[events.types] >= 0
    for count, what in (
        ((~known).sum(), "of unknown items dropped"),
        ((~type_known).sum(), "of unknown type"),
    ):
        if count:
            log.warning("histories: %d of %d events %s", count, len(items), what)
    offsets = build.offsets_of(events.owners[known], len(user_ids))
    return user_ids, Events(
        offsets,
        items[known].astype(np.int32),
        events.times[known],
        np.maximum(types, 0)[events.types][known].astype(np.uint8),
        events.values[known],
    )


def read_ids(path: Path, kind: Literal["user", "item"]) -> list[str]:
    """The ids in a file, in its order: one a line (.txt), or the user or item column of a table.

    InputMissing: no such file. BadData: no such column, or no ids.
    """
    if not path.is_file():
        raise InputMissing(f"{path}: no such file of {kind} ids")
    ids = _text_ids(path) if path.suffix == ".txt" else _column_ids(path, kind)
    if not ids:
        raise BadData(f"{path}: holds no {kind} ids")
    return ids


def _text_ids(path: Path) -> list[str]:
    with one_line(path):
        return [line.strip() for line in lines(Source(path, "text")) if line.strip()]


def _column_ids(path: Path, kind: Literal["user", "item"]) -> list[str]:
    (source,) = sources_under(path)
    with tempfile.TemporaryDirectory() as folder, staging.scratch(Path(folder)) as con:
        found = columns_of(con, source)
        synonyms = (*(schema.USER if kind == "user" else schema.ITEM), "id")
        matched = schema.match([schema.Field("id", "id", synonyms)], found)
        if not matched:
            raise BadData(f"{path}: no {kind} column; found: {', '.join(found)}")
        column = name(matched["id"])
        query = f"SELECT {column}::VARCHAR FROM {relation(source, found)} WHERE trim({column}::VARCHAR) <> ''"
        with one_line(path):
            return [identity for (identity,) in con.execute(query).fetchall()]
