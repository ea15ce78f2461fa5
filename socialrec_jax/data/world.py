"""The World: one data set, numbered, sorted and laid down as read-only columns.

Events are stored user by user, oldest first, so a history is a slice, and "what was known then" is
a shorter slice: `ends(as_of)` is the single place that decides which events a query may see.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np

from socialrec_jax.data.columns import Strings, load_column, save_column
from socialrec_jax.data.csr import Pairs, first_at_or_after, ranges

SCHEMA_VERSION = 1
TRAIN, VALIDATION, TEST = 0, 1, 2
NO_TIME = np.iinfo(np.int64).min  # a friendship of unknown age has always been there
NOW = "now"


@dataclasses.dataclass(frozen=True)
class Events:
    """Event sequences of U users in CSR form: user u owns rows offsets[u]:offsets[u + 1], oldest
    first.
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
        lengths = history_ends - self.offsets[users]
        rows = ranges(self.offsets[users], lengths)
        return Pairs(np.concatenate([[0], np.cumsum(lengths)]), self.items[rows])

    def ends_before(self, users: np.ndarray, query_times: np.ndarray) -> np.ndarray:
        """Where what each user [...] did strictly before a moment [...] ends: exclusive rows
        [...].
        """
        return first_at_or_after(
            self.times, self.offsets[users], self.offsets[users + 1], query_times
        )


@dataclasses.dataclass(frozen=True)
class Friends:
    """The friend graph in CSR form: user u's friends are rows offsets[u]:offsets[u + 1], sorted by
    id.
    """

    offsets: np.ndarray  # [U + 1] int64
    ids: np.ndarray  # [E] int32
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


@dataclasses.dataclass(frozen=True)
class World:
    """All columns of a prepared data set; see `prepare.prepare` for how they come to be."""

    path: Path
    manifest: dict  # counts, input hashes, schema version, split: see docs/data.md
    user_ids: Strings
    events: Events
    event_splits: np.ndarray  # [N] uint8: TRAIN, VALIDATION or TEST, never decreasing within a user
    friends: Friends
    items: Items

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        return len(self.items.ids)

    @property
    def event_types(self) -> list[str]:
        return self.manifest["event_types"]

    @functools.cached_property
    def first_time(self) -> int:
        """Unix seconds of the oldest event; model times count from here."""
        return int(self.manifest["time_min"])

    def history_ends(self, as_of: int | str = NOW) -> np.ndarray:
        """Where each user's visible history ends [U] int64 (exclusive row into events).

        as_of: `VALIDATION` or `TEST` (just before that part of the user's events), `NOW` (all
        events), or unix seconds (events strictly before).
        """
        if as_of == NOW:
            return np.asarray(self.events.offsets[1:])
        if as_of in (VALIDATION, TEST):
            return self.events.starts + self.events.count_before(self.event_splits < as_of)
        return self.events.ends_before(
            np.arange(self.num_users), np.full(self.num_users, as_of, np.int64)
        )

    def query_times(self, as_of: int | str = NOW) -> np.ndarray:
        """When each user is asked [U], unix seconds: of others, what is strictly older may be
        known.

        as_of: see `ends`. `NOW` is just after all that ever happened. The parts of a time split
        begin for everybody at once. When only the last events are held out, each user is asked at
        the last visible one: the time of the next would tell something of it. Who has none is asked
        at the first one that is held out.
        """
        if as_of not in (VALIDATION, TEST):
            return np.full(self.num_users, self._after_all if as_of == NOW else as_of, np.int64)
        held_out = self.events.times[self.event_splits == as_of]
        cut = int(held_out.min()) if len(held_out) else self._after_all
        if self.manifest["split"] == "time" or not len(self.events.times):
            return np.full(self.num_users, cut, np.int64)
        history_ends = self.history_ends(as_of)
        asked_at = np.minimum(
            history_ends - (history_ends > self.events.starts), len(self.events.times) - 1
        )
        return np.where(np.diff(self.events.offsets) > 0, self.events.times[asked_at], cut)

    @functools.cached_property
    def _after_all(self) -> int:
        """A second after the last event or friendship."""
        return 1 + max(
            (int(times.max()) for times in (self.events.times, self.friends.times) if len(times)),
            default=0,
        )

    @classmethod
    def open(cls, path: Path) -> World:
        """The World that `prepare` laid down at path."""
        manifest = json.loads((path / "manifest.json").read_text())
        return cls(
            path=path,
            manifest=manifest,
            user_ids=Strings.load(path / "user_ids"),
            events=_load(Events, path / "events"),
            event_splits=load_column(path / "event_splits"),
            friends=_load(Friends, path / "friends"),
            items=_load(Items, path / "items"),
        )

    def save(self) -> None:
        """Write every column to `path`; the manifest comes last, so a World with one is whole."""
        self.user_ids.save(self.path / "user_ids")
        save_column(self.path / "event_splits", self.event_splits)
        for name in ("events", "friends", "items"):
            _save(getattr(self, name), self.path / name)
        (self.path / "manifest.json").write_text(json.dumps(self.manifest, indent=1))


def _load(table: type, folder: Path):
    fields = dataclasses.fields(table)
    return table(
        **{
            f.name: (Strings.load if f.type == "Strings" else load_column)(folder / f.name)
            for f in fields
        }
    )


def _save(table, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for field in dataclasses.fields(table):
        column = getattr(table, field.name)
        column.save(folder / field.name) if isinstance(column, Strings) else save_column(
            folder / field.name, column
        )
