"""New tables, and deletions, make the next generation of a World.

Whoever is known keeps the number, so a model that was trained on a World can be used with every
later generation. Newcomers are numbered by the md5 of their ids among themselves. Deleted users and
items leave a tombstone (see `data/world.py`). Only the new tables go through the engine, and what
they become is merged with the known columns, so the cost is one copy of these.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from socialrec_jax.config import DataConfig
from socialrec_jax.data import manifest as manifests
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.prepare import merge, times
from socialrec_jax.data.prepare.build import (
    RawColumns,
    check_target,
    checked_types,
    files_of,
    read_columns,
    replaced_at_end,
    split_events,
)
from socialrec_jax.data.prepare.engines.selection import open_engine
from socialrec_jax.data.prepare.fixed_options import fixed_options
from socialrec_jax.data.prepare.formats import Tables, find_tables
from socialrec_jax.data.prepare.rules import Rules, folded_type
from socialrec_jax.data.prepare.sniffing import TextOptions
from socialrec_jax.data.world import Events, Friends, World
from socialrec_jax.errors import UsageError

log = logging.getLogger(__name__)


@fixed_options()
def append(
    world: World | Path,
    source: Path | None,
    out: Path,
    *,
    deleted_users: Sequence[str] = (),
    deleted_items: Sequence[str] = (),
    drop_known: bool = False,
    room: bool = True,
) -> World:
    """The World with the tables in folder `source` added, written to `out`, another folder.

    Settings and split are those of `world`, and the split is made anew over all events. source: the
    same files as for `prepare`, of which every table may be missing; None: only delete. Deletions
    come first: an id that is deleted and occurs in `source` is a newcomer. drop_known: events of
    `source` that `world` has already (same user, item, second and type) are left out, and counted
    as `known_events`. room: tables of its models leave room for the next append
    (`inference/capacity.py`). Errors as in `prepare`.
    """
    # opened columns are mapped, so nothing is read before it is merged
    known = World.open(world) if isinstance(world, Path) else world
    if out.resolve() == known.path.resolve():
        raise UsageError(f"{out} is the World to append to: name another folder for the next one")
    check_target(out)
    tables = _tables_to_add(known, source) if source else {}
    users = _rows_of(known, known.user_ids, deleted_users)
    items = _rows_of(known, known.items.ids, deleted_items)
    deleted = Deletions(users, items)
    return _write(known, source or out, tables, deleted, out, drop_known=drop_known, room=room)


def _tables_to_add(known: World, source: Path) -> Tables:
    options = TextOptions.of(DataConfig(**known.manifest["data"]))
    return find_tables(source, events_required=False, options=options)


@dataclasses.dataclass(frozen=True)
class Deletions:
    """Numbers of the users and items that go, in rising order."""

    users: np.ndarray
    items: np.ndarray

    @property
    def digest(self) -> str | None:
        """A hash of the numbers, for a manifest must not remember the ids that it forgot."""
        if not len(self.users) and not len(self.items):
            return None
        numbers = json.dumps([self.users.tolist(), self.items.tolist()])
        return hashlib.sha256(numbers.encode()).hexdigest()


def _write(
    known: World,
    root: Path,
    tables: Tables,
    deleted: Deletions,
    out: Path,
    *,
    drop_known: bool,
    room: bool,
) -> World:
    config = DataConfig(**known.manifest["data"])
    # a World is named by its hash, so a checkpoint can find the one that it was trained on
    lineage = [*known.manifest["lineage"], known.manifest["hash"]]
    settings = manifests.settings(config, known.manifest["split"], lineage, deleted.digest, room)
    files = files_of(tables)
    with ThreadPoolExecutor(1) as pool:  # hashes are taken while the engine reads
        described = pool.submit(lambda: [manifests.describe(file, root) for file in files])
        # a lookup waits for what is being sorted
        if deleted.digest is None:
            pool.submit(known.user_ids.sort_for_lookup)
            pool.submit(known.items.ids.sort_for_lookup)
        if manifests.is_same(out, root, files, settings, described):
            return World.open(out)

        with replaced_at_end(out) as folder:
            merged, added = _build(known, tables, config, deleted, folder, drop_known)
            contents = pool.submit(_contents, merged, added)
            # what the manifest says is counted while the columns are written
            merged.save_columns()
            manifest = {**settings, **contents.result(), "sources": described.result()}
            merged.with_manifest(manifests.hashed(manifest)).save_manifest()
    return World.open(out)


def _rows_of(known: World, column: Strings, ids: Sequence[str]) -> np.ndarray:
    """The rows of ids in rising order; unknown ids are counted in the log."""
    rows = np.unique(column.lookup(ids))
    rows = rows[rows >= 0]
    unknown = len(set(ids)) - len(rows)
    if unknown:
        log.warning("deletion: %d of %d ids are not in %s", unknown, len(set(ids)), known.path)
    return rows


def _build(
    known: World,
    tables: Tables,
    config: DataConfig,
    deleted: Deletions,
    folder: Path,
    drop_known: bool,
) -> tuple[World, RawColumns]:
    """The columns of the next generation, and those that were added to them."""
    # deletions first: who is deleted and occurs in the new tables is a newcomer
    remaining = _delete(known, deleted)
    rules = times.for_world(Rules.of(config), known)
    with open_engine(folder, files_of(tables), rules) as engine:
        added = read_columns(engine, tables, config, folder)
    # without times there is no second to compare
    if drop_known and config.order == "time":
        added = _without_known(remaining, added)

    # after the engine is closed, so that its memory is free before the columns are copied
    return _merge(remaining, added, config, folder), added


def _contents(merged: World, added: RawColumns) -> dict:
    """What the manifest says of the columns."""
    # counts of rows that were rejected or dropped are those of the new tables alone
    contents = manifests.contents(merged)
    contents["counts"] |= added.counts
    return {**merged.manifest, **contents, "columns": added.columns}


def _delete(known: World, deleted: Deletions) -> World:
    """The World with tombstones in these rows; its event_splits are made anew later."""
    if deleted.digest is None:
        return known
    users = np.isin(np.arange(known.num_users), deleted.users)
    items = np.isin(np.arange(known.num_items), deleted.items)
    # blank ids cannot be looked up, and no table may hold one
    blank = [""] * len(deleted.users)
    return dataclasses.replace(
        known,
        user_ids=known.user_ids.replaced(deleted.users, blank),
        events=merge.delete_events(known.events, users, items),
        friends=merge.delete_friends(known.friends, users),
        items=merge.delete_items(known.items, deleted.items),
        attributes={
            name: column.replaced(deleted.users, blank) for name, column in known.attributes.items()
        },
    )


def _without_known(known: World, added: RawColumns) -> RawColumns:
    """The added columns without the events that are known already."""
    users = known.user_ids.lookup(added.user_ids)
    items = known.items.ids.lookup(added.items.ids)
    _, types = _merge_types(known.event_types, added.event_types)
    is_known = merge.are_known(known.events, added.events, users, items, types)
    num_known = int(is_known.sum())
    if not num_known:
        return added
    first = np.flatnonzero(is_known)[0]
    log.warning(
        "events: %d of %d are known already, same user, item, second and type, and are left out; "
        "the first is of user %s and item %s",
        *(num_known, len(is_known), added.user_ids[int(added.events.owners[first])]),
        added.items.ids[int(added.events.items[first])],
    )
    events = merge.keep_events(added.events, ~is_known)
    return dataclasses.replace(
        added, events=events, counts={**added.counts, "known_events": num_known}
    )


def _merge(known: World, added: RawColumns, config: DataConfig, folder: Path) -> World:
    # The new columns are numbered among themselves; these are their numbers in the World.
    users = merge.numbers_of(known.user_ids, added.user_ids)
    items = merge.numbers_of(known.items.ids, added.items.ids)
    user_ids = merge.extend_ids(known.user_ids, added.user_ids, users)

    # All others are copied while the events are: numpy needs no lock for that.
    with ThreadPoolExecutor(1) as pool:
        texts = pool.submit(
            merge.merge_items, known.items, added.items, items, added.availability_known
        )
        attributes = pool.submit(
            merge.merge_attributes, known.attributes, added.attributes, users, known.num_users
        )
        friends = pool.submit(_merge_friends, known, added, users, len(user_ids))
        event_types, types = _merge_types(known.event_types, added.event_types)
        new_events = added.events if config.order == "time" else _later(added.events, known.events)
        added_events = merge.renumber_events(new_events, users, items, types, len(user_ids))
        events = merge.merge_events(known.events, added_events)
        return World(
            path=folder,
            manifest={"event_types": event_types},
            user_ids=user_ids,
            events=events,
            event_splits=split_events(events, known.manifest["split"], config),
            friends=friends.result(),
            items=texts.result(),
            attributes=attributes.result(),
        )


def _merge_friends(known: World, added: RawColumns, users: np.ndarray, num_users: int) -> Friends:
    return merge.merge_friends(
        known.friends, merge.renumber_friends(added.friends, users, num_users)
    )


def _later(events: Events, known: Events) -> Events:
    """Events whose order is that of their file come after all known ones."""
    # without times an event bears its place in its file, and each append counts from 0 again
    first = int(known.times.max(initial=-1)) + 1
    return dataclasses.replace(events, times=events.times + first)


def _merge_types(known: list[str], added: list[str]) -> tuple[list[str], np.ndarray]:
    """All event types, and the number among them of each added one."""
    # Known types keep their numbers, since models have learnt them.
    folded = {folded_type(name) for name in known}
    new = [name for name in added if folded_type(name) not in folded]
    event_types = checked_types([*known, *new])
    number_of = {folded_type(name): number for number, name in enumerate(event_types)}
    return event_types, np.array([number_of[folded_type(name)] for name in added], np.int64)
