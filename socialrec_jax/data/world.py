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
from pathlib import Path

import numpy as np

from socialrec_jax import checksums
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.columns import Strings, load_column, save_column
from socialrec_jax.data.csr import Pairs, first_at_or_after, ranges
from socialrec_jax.data.world_files import MANIFEST, advised, read_manifest, write_manifest
from socialrec_jax.errors import DamagedFile

TRAIN, VALIDATION, TEST = 0, 1, 2
NO_TIME = np.iinfo(np.int64).min  # a friendship of unknown age has always been there
NOW = AsOf.now()
BEFORE_VALIDATION, BEFORE_TEST = AsOf.before(VALIDATION), AsOf.before(TEST)

_DTYPES = {
    **{"offsets": "int64", "items": "int32", "times": "int64", "types": "uint8"},
    **{"values": "float32", "ids": "int32", "weights": "float32"},
    **{"prices": "float32", "available": "bool", "vectors": "float32"},
}  # of the columns by name, those of all tables


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

    @functools.cached_property
    def derived(self) -> dict:
        """What follows from the columns and takes long, kept as long as the World is."""
        return {}

    @classmethod
    def open(cls, path: Path) -> World:
        """The World that `prepare` or `append` wrote, with sizes and headers of all files checked.

        Contents: see `world_checks`. Raises InputMissing without manifest, BadData for another
        format, DamagedFile where a file is missing or cannot be what was written.
        """
        manifest = read_manifest(path)
        with advised(manifest), checksums.readable(path / MANIFEST):
            checksums.check_sizes(path, manifest)
            world = cls._load(path, manifest)
            check_lengths(world)
        return world

    @classmethod
    def _load(cls, path: Path, manifest: dict) -> World:
        attributes = list(enumerate(manifest.get("user_attributes", [])))
        return cls(
            path=path,
            # what describes the files is no property of the data
            manifest={k: v for k, v in manifest.items() if k not in checksums.KEYS},
            user_ids=Strings.load(path / "user_ids"),
            events=_load(Events, path / "events"),
            event_splits=load_column(path / "event_splits", "uint8"),
            friends=_load(Friends, path / "friends"),
            items=_load(Items, path / "items"),
            attributes={name: Strings.load(path / "users" / str(i)) for i, name in attributes},
        )

    def save(self) -> None:
        """Write the World to `path`; the manifest comes last, so a World with one is whole."""
        self.save_columns()
        self.save_manifest()

    def save_columns(self) -> None:
        """Write every column to `path`."""
        self.user_ids.save(self.path / "user_ids")
        save_column(self.path / "event_splits", self.event_splits)
        for name in ("events", "friends", "items"):
            _save(getattr(self, name), self.path / name)
        # names may hold anything, so the files are numbered in the order of the manifest
        (self.path / "users").mkdir(exist_ok=True)
        for number, column in enumerate(self.attributes.values()):
            column.save(self.path / "users" / str(number))

    def save_manifest(self) -> None:
        """Write the manifest: all columns must have been written."""
        write_manifest(self.path, self.manifest)


def check_lengths(world: World) -> None:
    """DamagedFile where columns of one table have different lengths."""
    U, V, N = world.num_users, world.num_items, len(world.events.items)
    expected = {"event_splits": (world.event_splits, N)}
    expected |= {f"users/{name}": (column, U) for name, column in world.attributes.items()}
    rows = {"events": (U, N), "friends": (U, len(world.friends.ids)), "items": (V, V)}
    for table, (owners, entries) in rows.items():
        for name, column in vars(getattr(world, table)).items():
            length = owners + 1 if name == "offsets" else entries
            expected[f"{table}/{name}"] = (column, length)
    for name, (column, length) in expected.items():
        if len(column) != length:
            what = f"it has {len(column)} rows, the columns beside it say {length}"
            raise DamagedFile(world.path / name, what)


def _load(table: type, folder: Path):
    columns = {}
    for field in dataclasses.fields(table):
        file = folder / field.name
        is_text = field.type == "Strings"
        column = Strings.load(file) if is_text else load_column(file, _DTYPES[field.name])
        columns[field.name] = column
    return table(**columns)


def _save(table: Events | Friends | Items, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for field in dataclasses.fields(table):
        column = getattr(table, field.name)
        if isinstance(column, Strings):
            column.save(folder / field.name)
        else:
            save_column(folder / field.name, column)
