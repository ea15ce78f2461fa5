"""The steps from a folder's tables to columns, which first and later generations share.

Users and items are numbered by the md5 of their ids: the same on every machine, and free of the
order of first appearance, which tells a model what comes next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from socialrec_jax.config import DataConfig, Split
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare.engines.engine import Engine
from socialrec_jax.data.prepare.filters import Filters
from socialrec_jax.data.prepare.formats import Tables
from socialrec_jax.data.prepare.rejects import check_parts, reject_all
from socialrec_jax.data.prepare.rules import Rules, plain_name
from socialrec_jax.data.prepare.schema import MAX_EVENT_TYPES, TABLES
from socialrec_jax.data.world import TEST, TRAIN, VALIDATION, Events, Friends, Items
from socialrec_jax.errors import BadData, UsageError

JOIN_SHARE = 0.5  # of the ids of a table occur in events where the tables belong together
MANY_TYPES = 32  # a shop has fewer, so most likely the column is another one
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RawColumns:
    """The columns of one folder, numbered among themselves."""

    user_ids: Strings
    event_types: list[str]
    events: Events
    friends: Friends
    items: Items
    attributes: dict[str, Strings]
    availability_known: np.ndarray  # [V] bool, whether the tables say if an item is available
    counts: dict  # of rows that were dropped, rejected or filled in
    columns: dict[str, dict[str, str]]  # table -> field -> the files' column


def files_of(tables: Tables) -> list[Path]:
    """All files of the tables, each once."""
    # sorted, for the order of a set would change the manifest from run to run
    return sorted({source.path for sources in tables.values() for source in sources})


def read_columns(
    engine: Engine, tables: Tables, config: DataConfig, folder: Path, *, k_core: bool = False
) -> RawColumns:
    """Read, check, number and sort the tables; bad rows go to `rejected.parquet` in the folder.

    k_core: whether the settings' least numbers of events hold, which are those of all events.
    BadData: see docs/data.md.
    """
    # all four tables are staged, also those without files: later steps need no cases
    parts = engine.concurrently(
        [partial(engine.stage, table, tables.get(table, [])) for table in TABLES]
    )
    staged = dict(zip(TABLES, parts, strict=True))
    for table, of_table in staged.items():
        check_parts(table, of_table)
    rejected = reject_all(engine, staged, config, folder / "rejected.parquet")
    filtered = filter_events(engine, config, k_core=k_core)
    columns = number_columns(engine, tables, config, rejected)
    # Worlds without filters have the hash that they always had
    counts = {"filtered": filtered} if filtered else {}
    return dataclasses.replace(columns, counts=columns.counts | counts)


def filter_events(engine: Engine, config: DataConfig, *, k_core: bool) -> dict[str, int]:
    """Leave out events that the settings exclude; how many by option."""
    filters = Filters.of(config)
    filters = filters if k_core else filters.of_rows()
    dropped = engine.filter_events(filters) if filters.are_set else {}
    if dropped:
        counts = ", ".join(f"{count:,} by {option}" for option, count in dropped.items())
        log.warning("events: left out as the settings say: %s", counts)
    return dropped


def number_columns(
    engine: Engine, tables: Tables, config: DataConfig, rejected: dict[str, int]
) -> RawColumns:
    """Number and sort the good rows of the staged tables. rejected: bad rows by table.

    BadData: no event has a time, or there are too many event types.
    """
    events_without_time, events_with_time = engine.fill_times()
    # an append may bring other tables alone
    if "events" in tables:
        check_has_times(events_without_time, events_with_time)

    numbered = _numbered(engine, config)
    counts = {"events_without_time": events_without_time, "rejected": rejected, **numbered.counts}
    used = {table: engine.columns_used(table) for table in tables}
    return dataclasses.replace(numbered, counts=counts, columns=used)


def _numbered(engine: Engine, config: DataConfig) -> RawColumns:
    """All columns of the staged tables; every id of any table gets a number."""
    user_ids, item_ids, event_types = _number(engine)
    calls = [
        partial(engine.events, len(user_ids)),
        partial(engine.friends, len(user_ids), config.social_direction),
        partial(engine.items, item_ids),
        engine.attributes,
    ]
    events, (friends, dropped), (items, availability_known), attributes = engine.concurrently(calls)
    return RawColumns(
        *(user_ids, event_types, events, friends, items, attributes, availability_known),
        counts=dropped,
        columns={},
    )


def _number(engine: Engine) -> tuple[Strings, Strings, list[str]]:
    """The ids of users and items, and the event types, in the order of their numbers."""
    # so cold users and items exist too
    numbering = [partial(engine.number_users, "md5"), partial(engine.number_items, "md5")]
    user_ids, item_ids, type_names = engine.concurrently([*numbering, engine.event_types])
    return user_ids, item_ids, checked_types(type_names)


def check_mapping(columns: RawColumns, config: DataConfig) -> None:
    """UsageError: --data.map names a column that no table has."""
    shown = [column for fields in columns.columns.values() for column in fields.values()]
    # part files may have called one field by several names
    used = {plain_name(name) for column in shown for name in (column, *column.split(", "))}
    for field, column in Rules.of(config).columns.items():
        if column not in used:
            raise UsageError(f"--data.map {field}={column}: no table has such a column")


def check_has_times(without_time: int, with_time: int) -> None:
    """BadData: no event has a time, so none can be filled in."""
    if not with_time:
        problem = "no event has a timestamp" if without_time else "the table has no usable rows"
        raise BadData(f"events: {problem}")


def checked_types(names: list[str]) -> list[str]:
    """The event types. BadData: there are more than a World can hold."""
    if len(names) > MAX_EVENT_TYPES:
        raise BadData(
            f"events: {len(names)} event types, {MAX_EVENT_TYPES} at most; "
            "is event_type the right column?"
        )
    if len(names) > MANY_TYPES:
        log.warning(
            "events: %d event types, such as %s: is event_type the right column? "
            "--data.map event_type=COLUMN, or --data.ignore it",
            *(len(names), ", ".join(names[:3])),
        )
    return names


def split_events(events: Events, split: Split, config: DataConfig) -> np.ndarray:
    """TRAIN, VALIDATION or TEST of each event [N] uint8.

    leave-one-out: the last event of a user with three or more is tested, the one before it
    validated. time: two cuts at global quantiles of time; the last `test_share` of events is
    tested, `validation_share` before it validated, and an event at a cut belongs after it.
    BadData: there are no events, or the time split leaves nothing to train on.
    """
    splits = parts_of_split(events, split, config)
    if not (splits == TEST).any():
        log.warning(
            "%s: nothing is left to test on, for no user has three events or more; accuracy "
            "cannot be measured",
            split,
        )
    return splits


def parts_of_split(events: Events, split: Split, config: DataConfig) -> np.ndarray:
    """The same without a warning where nothing is left to test on."""
    if not len(events.times):
        raise BadData("events: no event is left")
    return _leave_one_out(events) if split == "leave-one-out" else _split_by_time(events, config)


def _split_by_time(events: Events, config: DataConfig) -> np.ndarray:
    if config.order != "time":
        raise UsageError(
            f"--data.order {config.order} knows no times to split at: use --split leave-one-out"
        )
    shares = np.array([1 - config.test_share - config.validation_share, 1 - config.test_share])
    # the event at each place opens the next part, with all events of the same second
    places = np.minimum((shares * len(events.times)).astype(np.int64), len(events.times) - 1)
    # two places of the sorted times are needed, not all of them
    cuts = np.partition(events.times, places)[places]
    splits = np.searchsorted(cuts, events.times, side="right").astype(np.uint8)
    # TRAIN is 0, so no zero means that there is nothing to train on
    if splits.all():
        raise BadData(
            "time split: no event lies before the cut, too many share one time; use leave-one-out"
        )
    return splits


def _leave_one_out(events: Events) -> np.ndarray:
    splits = np.full(len(events.times), TRAIN, np.uint8)
    ends = events.offsets[1:][np.diff(events.offsets) >= 3]
    # two events leave nothing to learn from before the validated one
    splits[ends - 1], splits[ends - 2] = TEST, VALIDATION
    return splits


def check_target(out: Path) -> None:
    """UsageError: `out` holds something that is no World, and must not be overwritten."""
    if out.exists() and not (out / "manifest.json").exists() and any(out.iterdir()):
        raise UsageError(
            f"{out}: holds files that are no World; name another folder, or empty this one"
        )


@contextlib.contextmanager
def replaced_at_end(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` when all went well, and vanishes otherwise."""
    folder, former = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.former")
    # A killed process may have left them.
    for leftover in (folder, former):
        shutil.rmtree(leftover, ignore_errors=True)
    folder.mkdir(parents=True)
    # Beside `out`, so that both lie on one file system and a rename is atomic.
    try:
        yield folder
        # renamed away first: a kill in the middle of a removal must not leave half a World
        if out.exists():
            out.rename(former)
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def join_shares(engine: Engine, tables: Tables, columns: RawColumns) -> dict[str, float]:
    """The share of the ids of items, social and users that occur in events, for tables with rows.

    Few of them are logged: the ids may be written in another way there.
    """
    events, friends = columns.events, columns.friends
    users_seen = np.diff(events.offsets) > 0
    items_seen = np.bincount(events.items, minlength=len(columns.items.ids)) > 0
    # both ends of a friendship
    linked = np.diff(friends.offsets) > 0
    linked[friends.ids] = True
    seen = {"social": users_seen[linked]}
    for table, is_seen in (("items", items_seen), ("users", users_seen)):
        seen[table] = is_seen[engine.described(table)] if table in tables else linked[:0]
    shares = {table: float(column.mean()) for table, column in seen.items() if len(column)}
    for table, share in shares.items():
        _warn_of_few(table, share, engine.columns_unused(table))
    return shares


def _warn_of_few(table: str, share: float, unused: Sequence[str]) -> None:
    if share >= JOIN_SHARE:
        return
    # a catalogue may have a number and a code of each item, of which events name one
    key = TABLES[table][0]
    others = [column for column in unused if plain_name(column) in key.synonyms]
    advice = "".join(f", or --data.map {table}.{key.name}={column}" for column in others)
    log.warning(
        "%s: only %.1f%% of the ids occur in events; are they the same ids, written alike%s?",
        *(table, 100 * share, advice),
    )
