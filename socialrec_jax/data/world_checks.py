"""Whether a World is what was written: the contents of its files, and the numbers in them.

`World.open` compares sizes and headers. What is here reads the files: at the start of a training,
when a run is verified, and once a process when it serves.
"""

from __future__ import annotations

import logging

import numpy as np

from socialrec_jax import checksums
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.csr import is_among
from socialrec_jax.data.world import TEST, World
from socialrec_jax.data.world_files import advised, read_manifest, write_manifest
from socialrec_jax.errors import DamagedFile

log = logging.getLogger(__name__)


def check_contents(world: World) -> None:
    """DamagedFile where the content of a file is not what was written.

    A World of an older program has no checksums: then its numbers are checked, and the log says so.
    """
    manifest = read_manifest(world.path)
    if checksums.FILES not in manifest:
        log.warning("%s has no checksums: train.py --run RUN writes them", world.path)
        check_numbers(world)
        return
    with advised(manifest):
        checksums.check_contents(world.path, manifest)


def verify(world: World) -> None:
    """The same at the start of a training: checks the numbers too, and adds missing checksums."""
    manifest = read_manifest(world.path)
    if checksums.FILES in manifest:
        check_contents(world)
    check_numbers(world)
    if checksums.FILES not in manifest:
        write_manifest(world.path, manifest)
        log.warning("%s had no checksums: they are written now", world.path)


def check_numbers(world: World) -> None:
    """DamagedFile where a number would point at a wrong user, item or text, or is none."""
    with advised(world.manifest):
        _check_events(world)
        _check_friends(world)
        items = world.items
        columns = {f"items/{name}": column for name, column in vars(items).items()}
        columns |= {f"users/{name}": column for name, column in world.attributes.items()}
        for name, column in {"user_ids": world.user_ids, **columns}.items():
            if isinstance(column, Strings):
                _require(world, f"{name}.offsets", _rises(column.offsets), "its offsets fall")
        _require_finite(world, "items/vectors", items.vectors)
        _require(world, "items/prices", not np.isinf(items.prices).any(), "it has infinities")


def _check_events(world: World) -> None:
    events = world.events
    _check_offsets(world, "events", events.offsets, len(events.items))
    _check_range(world, "events/items", events.items, world.num_items)
    _check_range(world, "events/types", events.types, len(world.event_types))
    _check_range(world, "event_splits", world.event_splits, TEST + 1)
    _require_finite(world, "events/values", events.values)
    # a history is a slice: oldest first, and its parts one after the other
    _require(world, "events/times", _rises_within(events.times, events.offsets), "times fall")
    splits_rise = _rises_within(world.event_splits, events.offsets)
    _require(world, "event_splits", splits_rise, "splits fall")


def _check_friends(world: World) -> None:
    friends = world.friends
    _check_offsets(world, "friends", friends.offsets, len(friends.ids))
    _check_range(world, "friends/ids", friends.ids, world.num_users)
    _require_finite(world, "friends/weights", friends.weights)


def _check_offsets(world: World, table: str, offsets: np.ndarray, entries: int) -> None:
    is_whole = offsets[0] == 0 and offsets[-1] == entries and _rises(offsets)
    _require(world, f"{table}/offsets", is_whole, f"its offsets do not rise from 0 to {entries}")


def _check_range(world: World, name: str, numbers: np.ndarray, count: int) -> None:
    if len(numbers):
        least, most = int(numbers.min()), int(numbers.max())
        inside = least >= 0 and most < count
        _require(world, name, inside, f"it has {least}..{most}, there are {count}")


def _require_finite(world: World, name: str, numbers: np.ndarray) -> None:
    _require(world, name, bool(np.isfinite(numbers).all()), "not all of its numbers are finite")


def _require(world: World, name: str, is_right: bool | np.bool_, what: str) -> None:
    if not is_right:
        raise DamagedFile(world.path / f"{name}.npy", what)


def _rises(numbers: np.ndarray) -> bool:
    return bool((numbers[1:] >= numbers[:-1]).all())


def _rises_within(numbers: np.ndarray, offsets: np.ndarray) -> bool:
    """Whether numbers never fall inside of a slice."""
    falls = np.flatnonzero(numbers[1:] < numbers[:-1]) + 1
    return bool(is_among(falls, offsets).all())
