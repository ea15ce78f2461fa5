"""The World: one data set, numbered, sorted and stored as read-only columns.

Events are stored user by user, oldest first, so a history is a slice, and "what was known then" is
a shorter slice: `history_ends(as_of)` is the single place that decides which events a query sees.

Numbers of users, items and event types are append-only: the next generation of a World (see
`prepare/append.py`) keeps every number. Whoever is deleted leaves a tombstone: the number stays
reserved, its id is the empty string, and it has no events, friends or texts any more.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.columns import Strings, load_column, save_column
from socialrec_jax.data.csr import Pairs, first_at_or_after, ranges
from socialrec_jax.errors import BadData

SCHEMA_VERSION = 2
TRAIN, VALIDATION, TEST = 0, 1, 2
NO_TIME = np.iinfo(np.int64).min  # a friendship of unknown age has always been there
NOW = AsOf.now()
BEFORE_VALIDATION, BEFORE_TEST = AsOf.before(VALIDATION), AsOf.before(TEST)


@dataclasses.dataclass(frozen=True)
class Events:
    """Event sequences of U users in CSR form, oldest first.

    User u owns rows offsets[u]:offsets[u + 1].
    """

    offsets: np.ndarray  # [U + 1] int64
    items: np.ndarray  # [N] int32, 0..V-1
    times: np.ndarray  # [N] int64, unix seconds
    types: np.ndarray  # [N] uint8, index into the World's event_types
    values: np.ndarray  # [N] float32, 1 where the input has none

    @property
    def num_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def starts(self) -> np.ndarray:
        return self.offsets[:-1]

    @functools.cached_property
    def owners(self) -> np.ndarray:
        """The user of each event [N] int32."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), np.diff(self.offsets))

    def visible(self, history_ends: np.ndarray) -> np.ndarray:
        """Which events [N] bool lie before their user's history end [U]."""
        return np.arange(len(self.items)) < history_ends[self.owners]

    def count_before(self, keep: np.ndarray) -> np.ndarray:
        """How many of each user's events [U] int64 are marked in keep [N] bool."""
        running = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
        return running[self.offsets[1:]] - running[self.offsets[:-1]]

    def histories(self, users: np.ndarray, history_ends: np.ndarray) -> Pairs:
        """The items that each of users [Q] has had before row history_ends [Q], oldest first."""
        starts = self.offsets[users]
        lengths = history_ends - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Pairs(offsets, self.items[ranges(starts, lengths)])

    def ends_before(self, users: np.ndarray, query_times: np.ndarray) -> np.ndarray:
        """Where the events of each user [...] strictly before a time [...] end: exclusive rows."""
        starts, stops = self.offsets[users], self.offsets[users + 1]
        return first_at_or_after(self.times, starts, stops, query_times)


@dataclasses.dataclass(frozen=True)
class Friends:
    """The friend graph in CSR form, the friends of a user by number.

    User u's friends are rows offsets[u]:offsets[u + 1].
    """

    offsets: np.ndarray  # [U + 1] int64
    ids: np.ndarray  # [E] int32, numbers of users
    weights: np.ndarray  # [E] float32, 1 where the input has none
    times: np.ndarray  # [E] int64 unix seconds since when, NO_TIME where unknown


@dataclasses.dataclass(frozen=True)
class Items:
    """What is known of the V products besides their events; absent text is the empty string."""

    ids: Strings
    titles: Strings
    descriptions: Strings
    tags: Strings  # `|`-separated
    categories: Strings
    prices: np.ndarray  # [V] float32, NaN where unknown
    available: np.ndarray  # [V] bool
    vectors: np.ndarray  # [V, F] float32, F = 0 without fixed vectors

    @property
    def has_text(self) -> np.ndarray:
        """Which items [V] bool have a text of any kind."""
        texts = (self.titles, self.descriptions, self.tags, self.categories)
        return np.any([~column.blank for column in texts], axis=0)


@dataclasses.dataclass(frozen=True)
class World:
    """All columns of a prepared data set; see `prepare.prepare` for how they come to be."""

    path: Path
    manifest: dict  # counts, input hashes, format, lineage, split: see docs/data.md
    user_ids: Strings
    events: Events
    event_splits: np.ndarray  # [N] uint8: TRAIN, VALIDATION or TEST, never decreasing within a user
    friends: Friends
    items: Items
    attributes: dict[str, Strings] = dataclasses.field(default_factory=dict)
    """What is known of the users by name, each [U]; unknown is the empty string."""

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        return len(self.items.ids)

    @property
    def event_types(self) -> list[str]:
        return self.manifest["event_types"]

    @property
    def deleted_users(self) -> np.ndarray:
        """Which users [U] bool are tombstones."""
        return self.user_ids.blank

    @property
    def deleted_items(self) -> np.ndarray:
        """Which items [V] bool are tombstones."""
        return self.items.ids.blank

    def with_manifest(self, manifest: dict) -> World:
        return dataclasses.replace(self, manifest=manifest)

    def descends_from(self, world_hash: str | None) -> bool:
        """Whether this is the World of that hash or a later generation of it.

        Then every number of that World means the same user, item or event type here.
        """
        # Worlds made in memory by tests have no ancestors
        known = [self.manifest["hash"], *self.manifest.get("lineage", [])]
        return world_hash in known

    @functools.cached_property
    def first_time(self) -> int:
        """Unix seconds of the oldest event; model times count from here."""
        return int(self.manifest["time_min"])

    def history_ends(self, as_of: AsOf = NOW) -> np.ndarray:
        """Where each user's visible history ends [U] int64 (exclusive row into events)."""
        if as_of.is_now:
            return np.asarray(self.events.offsets[1:])
        if as_of.split is not None:
            # Splits never decrease within a user, so the visible events come first.
            return self.events.starts + self.events.count_before(self.event_splits < as_of.split)
        return self.events.ends_before(
            np.arange(self.num_users), np.full(self.num_users, as_of.seconds, np.int64)
        )

    def query_times(self, as_of: AsOf = NOW) -> np.ndarray:
        """The query time of each user [U], unix seconds: of others, only what is strictly older
        may be known.

        Now is just after the last event or friendship. A part of a time split begins for everybody
        at once. When the last events are held out, the query time is that of the user's last
        visible event, because the time of the next one would tell something of it; without a
        visible event it is that of the first held-out one.
        """
        if as_of.split is None:
            seconds = self._after_all if as_of.is_now else as_of.seconds
            return np.full(self.num_users, seconds, np.int64)
        held_out = self.events.times[self.event_splits == as_of.split]
        cut = int(held_out.min()) if len(held_out) else self._after_all
        if self.manifest["split"] == "time" or not len(self.events.times):
            return np.full(self.num_users, cut, np.int64)

        history_ends = self.history_ends(as_of)
        last_visible = np.minimum(
            history_ends - (history_ends > self.events.starts), len(self.events.times) - 1
        )
        return np.where(np.diff(self.events.offsets) > 0, self.events.times[last_visible], cut)

    @functools.cached_property
    def _after_all(self) -> int:
        """A second after the last event or friendship."""
        columns = [self.events.times, self.friends.times]
        return 1 + max((int(times.max()) for times in columns if len(times)), default=0)

    @classmethod
    def open(cls, path: Path) -> World:
        """The World that `prepare` or `append` wrote. BadData: it has another format."""
        manifest = json.loads((path / "manifest.json").read_text())
        check_format(manifest, path)
        return cls(
            path=path,
            manifest=manifest,
            user_ids=Strings.load(path / "user_ids"),
            events=_load(Events, path / "events"),
            event_splits=load_column(path / "event_splits"),
            friends=_load(Friends, path / "friends"),
            items=_load(Items, path / "items"),
            attributes={
                name: Strings.load(path / "users" / str(number))
                for number, name in enumerate(manifest.get("user_attributes", []))
            },
        )

    def save(self) -> None:
        """Write every column to `path`; the manifest comes last, so a World with one is whole."""
        self.user_ids.save(self.path / "user_ids")
        save_column(self.path / "event_splits", self.event_splits)
        for name in ("events", "friends", "items"):
            _save(getattr(self, name), self.path / name)
        # names may hold anything, so the files are numbered in the order of the manifest
        (self.path / "users").mkdir(exist_ok=True)
        for number, column in enumerate(self.attributes.values()):
            column.save(self.path / "users" / str(number))
        (self.path / "manifest.json").write_text(json.dumps(self.manifest, indent=1))


def check_format(manifest: dict, path: Path) -> None:
    """BadData, with what to do, unless the World at path has the format of this program."""
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BadData(
            f"{path} is a World of format {version}, this program reads format {SCHEMA_VERSION}: "
            "prepare the raw tables again, for a new --run"
        )


def _load(table: type, folder: Path):
    columns = {}
    for field in dataclasses.fields(table):
        load = Strings.load if field.type == "Strings" else load_column
        columns[field.name] = load(folder / field.name)
    return table(**columns)


def _save(table: Events | Friends | Items, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for field in dataclasses.fields(table):
        column = getattr(table, field.name)
        if isinstance(column, Strings):
            column.save(folder / field.name)
        else:
            save_column(folder / field.name, column)
