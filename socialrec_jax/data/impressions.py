"""Impressions: which lists users were shown, and what they did afterwards.

A row is one item at one place of a list. Users and items are numbers of a World, so no id is kept.
Rows of one user and time are one list. What followed is read from the World's events, see `lists`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from socialrec_jax import checksums
from socialrec_jax.data.world import Events, World
from socialrec_jax.errors import DamagedFile
from socialrec_jax.files import replacing, writing

FILE = "impressions.npz"
_FIELDS = ("users", "items", "ranks", "times", "explored")


@dataclasses.dataclass(frozen=True)
class Impressions:
    """n items that users were shown."""

    users: np.ndarray  # [n] int64
    items: np.ndarray  # [n] int64
    ranks: np.ndarray  # [n] int64, 1 at the top of the list
    times: np.ndarray  # [n] int64 unix seconds, one for all rows of a list
    explored: np.ndarray  # [n] bool, whether the order of the list was random

    def __len__(self) -> int:
        return len(self.users)

    def joined(self, other: Impressions) -> Impressions:
        """The rows of both."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in _FIELDS)
        return Impressions(*(np.concatenate(pair) for pair in pairs))

    def rows(self, chosen: np.ndarray) -> Impressions:
        """Some of the rows: their numbers, or a mask."""
        return Impressions(*(getattr(self, name)[chosen] for name in _FIELDS))

    def without_deleted(self, world: World) -> Impressions:
        """The rows whose user and item the World still has."""
        deleted = world.deleted_users[self.users] | world.deleted_items[self.items]
        return self.rows(~deleted)

    def save(self, folder: Path) -> None:
        """Write the rows to folder."""
        file = folder / FILE
        columns = {name: getattr(self, name) for name in _FIELDS}
        with writing(file), replacing(file) as temporary:
            np.savez(temporary, sha256=self._sha256(), **columns)

    @classmethod
    def load(cls, folder: Path) -> Impressions | None:
        """What `save` wrote, None where there is nothing. DamagedFile: it is something else."""
        file = folder / FILE
        if not file.exists():
            return None
        with checksums.readable(file), np.load(file) as columns:
            read = cls(*(columns[name] for name in _FIELDS))
            # Older programs wrote no checksum.
            written = str(columns["sha256"]) if "sha256" in columns else read._sha256()
        if read._sha256() != written:
            raise DamagedFile(file, "its content is not what was written")
        return read

    def _sha256(self) -> str:
        """The SHA-256 of all columns, in hexadecimal digits."""
        digest = hashlib.sha256()
        for name in _FIELDS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class ShownLists:
    """L lists that users have seen, with what they did until their next list.

    Lists are padded to one length K; where an item does not exist it is -1.
    """

    users: np.ndarray  # [L] int64
    times: np.ndarray  # [L] int64 unix seconds
    history_ends: np.ndarray  # [L] int64, the row of the first event at the time or later
    items: np.ndarray  # [L, K] int64, at the place of their rank
    explored: np.ndarray  # [L] bool
    taken: np.ndarray  # [L, K, A] bool, whether the user did this to the item afterwards

    def __len__(self) -> int:
        return len(self.users)

    def part(self, chosen: np.ndarray) -> ShownLists:
        """Some of the lists: their numbers, or a mask."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return ShownLists(**{name: column[chosen] for name, column in columns.items()})


def lists(impressions: Impressions, world: World, history_ends: np.ndarray) -> ShownLists:
    """The lists with the events that followed, of those before history_ends [U].

    An event belongs to the user's newest list that is not younger. A list counts where such an
    event exists, on any item: a user who did not come back has not seen it.
    """
    key = np.stack([impressions.users, impressions.times], axis=1)
    heads, list_of_row = np.unique(key, axis=0, return_inverse=True)
    users, times = heads[:, 0], heads[:, 1]
    begins, ends = _following_rows(world.events, users, times, history_ends)
    explored = np.zeros(len(users), bool)
    explored[list_of_row[impressions.explored]] = True
    items = _items_by_rank(impressions, list_of_row, len(users))
    taken = _taken(world, items, begins, ends)
    return ShownLists(users, times, begins, items, explored, taken).part(ends > begins)


def _following_rows(
    events: Events, users: np.ndarray, times: np.ndarray, history_ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rows [L] of the first event after each list, and of the first after the next list.

    The lists are sorted by user and time.
    """
    limits = history_ends[users]
    # What happens in the second of the list is an answer to it.
    begins = np.minimum(events.ends_before(users, times), limits)
    is_last_of_user = np.append(users[1:] != users[:-1], True)[: len(users)]
    next_begins = np.append(begins[1:], 0)[: len(users)]
    return begins, np.where(is_last_of_user, limits, next_begins)


def _items_by_rank(impressions: Impressions, list_of_row: np.ndarray, count: int) -> np.ndarray:
    """The items [L, K] of each list."""
    length = int(impressions.ranks.max(initial=1))
    # Rows that were not shown are missing in a file, and leave a gap.
    items = np.full((count, length), -1, np.int64)
    items[list_of_row, impressions.ranks - 1] = impressions.items
    return items


def _taken(world: World, items: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """[L, K, A] bool: whether a list's item has an event of each type in rows begins..ends - 1."""
    events = world.events
    taken = np.zeros((*items.shape, len(world.event_types)), bool)
    lengths = np.maximum(ends - begins, 0)
    list_of_event = np.repeat(np.arange(len(items)), lengths)
    first_of_list = np.cumsum(lengths) - lengths
    rows = begins[list_of_event] + np.arange(len(list_of_event)) - first_of_list[list_of_event]
    # Each event beside all items of its list.
    is_same = items[list_of_event] == events.items[rows][:, None]
    event, place = np.nonzero(is_same)
    taken[list_of_event[event], place, events.types[rows[event]]] = True
    return taken
