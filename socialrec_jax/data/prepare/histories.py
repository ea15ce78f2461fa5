"""What serving reads besides a World: histories and friends of users never seen, and lists of ids.

The histories take the same path as training data (same synonyms, checks, filled times, stable
order); only their items and event types are numbered by the World that the model was trained on.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from socialrec_jax.config import DataConfig
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import offsets_of
from socialrec_jax.data.friendships import Friendships, friendships_of
from socialrec_jax.data.prepare import schema, times
from socialrec_jax.data.prepare.build import check_has_times, checked_types
from socialrec_jax.data.prepare.engines.engine import Engine
from socialrec_jax.data.prepare.engines.selection import open_engine
from socialrec_jax.data.prepare.fixed_options import fixed_options
from socialrec_jax.data.prepare.formats import find_tables
from socialrec_jax.data.prepare.readers import Source, kind_suffix, sources_under
from socialrec_jax.data.prepare.rejects import check_parts, check_share
from socialrec_jax.data.prepare.rules import Rules, folded_type, plain_name
from socialrec_jax.data.prepare.sniffing import TextOptions
from socialrec_jax.data.prepare.text_files import encoding_of
from socialrec_jax.data.world import Events, World
from socialrec_jax.errors import BadData, InputMissing

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RawHistories:
    """m users of raw tables, and whom they know.

    Users come by first appearance in the events, then in the columns src and dst of the social
    table. Those without events may be users of the World.
    """

    user_ids: Strings  # [m]
    events: Events  # of the m users
    has_events: np.ndarray  # [m] bool, also where no event is left
    friendships: Friendships  # (who is informed, by whom), by place in this list
    is_source: np.ndarray  # [m] bool: in the column src


@fixed_options()
def read_raw_histories(path: Path, world: World, social: Path | None = None) -> RawHistories:
    """The users of an events table (a file, or a data folder with or without a social table).

    social: a file of friendships, in place of that of the folder. Items that the World does not
    know are dropped, event types that it does not know become type 0; both are logged with their
    number. Users keep their place even when no event is left. Errors as in `prepare`.
    """
    # the same patience with bad rows as the training data had
    config = DataConfig(**world.manifest.get("data", {}))
    sources = _sources(path, social, config)
    files = [source.path for of_table in sources.values() for source in of_table]
    with (
        tempfile.TemporaryDirectory() as folder,
        open_engine(Path(folder), files, times.for_world(Rules.of(config), world)) as engine,
    ):
        for table, of_table in sources.items():
            parts = engine.stage(table, of_table)
            check_parts(table, parts)
            check_share(engine, table, parts, config.max_bad_share)
        check_has_times(*engine.fill_times())
        return _read(engine, world, config.social_direction)


def _sources(path: Path, social: Path | None, config: DataConfig) -> dict[str, list[Source]]:
    """The sources of events and of friendships, of which there may be none."""
    options = TextOptions.of(config)
    tables = {"events": sources_under(path, options)} if not path.is_dir() else {}
    tables = tables or find_tables(path, options=options)
    friendships = tables.get("social", []) if social is None else sources_under(social, options)
    return {"events": tables["events"], "social": friendships}


def _read(engine: Engine, world: World, direction: str) -> RawHistories:
    user_ids, item_ids = engine.number_users("first row"), engine.number_items("first row")
    type_names = checked_types(engine.event_types())
    events = engine.events(len(user_ids))
    friends, _ = engine.friends(len(user_ids), "out")
    return RawHistories(
        user_ids=user_ids,
        events=_renumbered(events, world, item_ids, type_names),
        has_events=np.diff(events.offsets) > 0,
        friendships=friendships_of(friends, np.arange(len(user_ids))).read_as(direction),
        is_source=np.diff(friends.offsets) > 0,
    )


def _renumbered(events: Events, world: World, item_ids: Strings, type_names: list[str]) -> Events:
    """The events of items that the World knows, by the World's numbers."""
    # an unknown type must not drop the event: the item is what counts
    type_of = {folded_type(name): number for number, name in enumerate(world.event_types)}
    type_numbers = np.array([type_of.get(folded_type(name), -1) for name in type_names])
    items = world.items.ids.lookup(item_ids)[events.items]
    types = type_numbers[events.types]
    item_known = items >= 0
    _warn(~item_known, "of unknown items dropped")
    _warn(types < 0, f"of unknown type are read as {world.event_types[0]!r}")
    return Events(
        offsets=offsets_of(events.owners[item_known], events.num_users),
        items=items[item_known].astype(np.int32),
        times=events.times[item_known],
        types=np.maximum(types, 0)[item_known].astype(np.uint8),
        values=events.values[item_known],
    )


def _warn(affected: np.ndarray, what: str) -> None:
    if affected.any():
        log.warning("histories: %d of %d events %s", affected.sum(), len(affected), what)


def read_ids(path: Path, kind: Literal["user", "item"]) -> list[str]:
    """The ids in a file, in its order: one a line (.txt), or the user or item column of a table.

    InputMissing: no such file. BadData: no such column, or no ids.
    """
    if not path.is_file():
        raise InputMissing(f"{path}: no such file of {kind} ids")
    ids = _text_ids(path, kind) if kind_suffix(path) == ".txt" else _column_ids(path, kind)
    if not ids:
        raise BadData(f"{path}: holds no {kind} ids")
    return ids


def _text_ids(path: Path, kind: Literal["user", "item"]) -> list[str]:
    """The lines of a file as ids, without a name of the column above them."""
    if not path.stat().st_size:
        return []
    ids = [name for name in _read_columns(_one_column(path))["id"] if name]
    has_name = bool(ids) and plain_name(ids[0]) in (*schema.IDS[kind], "id")
    return ids[1:] if has_name else ids


def _one_column(path: Path) -> Source:
    """A text file whose lines are cells: no id holds what stands between them."""
    encoding = encoding_of(path, None)
    options: dict[str, Any] = {"names": ("id",), "has_header": False, "encoding": encoding}
    return Source(path, "text", delimiter="\x01", **options)


def _column_ids(path: Path, kind: Literal["user", "item"]) -> list[str]:
    columns = read_texts(path)
    matched = schema.match([schema.Field("id", "id", (*schema.IDS[kind], "id"))], columns)
    if not matched:
        raise BadData(f"{path}: no {kind} column; found: {', '.join(columns)}")
    return [name for name in columns[matched["id"]] if name]


def read_texts(path: Path) -> dict[str, list[str]]:
    """All columns of a table in a file, row by row, written as ids are; nothing is blank.

    InputMissing: no such file. BadData: it cannot be read.
    """
    (source,) = sources_under(path)
    return _read_columns(source)


@fixed_options()
def _read_columns(source: Source) -> dict[str, list[str]]:
    files = [source.path]
    with tempfile.TemporaryDirectory() as folder, open_engine(Path(folder), files) as engine:
        return engine.read_columns(source)
