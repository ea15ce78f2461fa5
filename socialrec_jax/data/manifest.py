"""The manifest of a World: what it was made from, what it holds, and one hash that names it.

`hash` is the sha256 of everything else in the manifest, but for the checksums of the World's own
files. No time of day, path or program version enters, so the same files and settings give the same
hash on every machine. `parent` is the hash of
the World that this one was appended to, `lineage` are the hashes of all its ancestors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from socialrec_jax import checksums
from socialrec_jax.config import DataConfig, Split
from socialrec_jax.data.world import World
from socialrec_jax.data.world_files import MANIFEST, SCHEMA_VERSION
from socialrec_jax.errors import DamagedFile


def settings(
    config: DataConfig,
    split: Split,
    lineage: Sequence[str] = (),
    deletions: str | None = None,
    room: bool = False,
) -> dict:
    """All that decides what a World becomes, apart from its sources.

    lineage: hashes of its ancestors, oldest first. deletions: a hash of what was deleted. room: see
    `append`.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "split": split,
        "data": _data_settings(config),
        "parent": lineage[-1] if lineage else None,
        "lineage": list(lineage),
        "deletions": deletions,
        # Only generations have it: the hash of a first World is that of older programs.
        **({"room": room} if lineage else {}),
    }


def _data_settings(config: DataConfig) -> dict:
    """Settings as JSON has them; what is not set is left out, as Worlds of older programs do."""
    # whichever engine sorts them, the tables become the same World
    config = dataclasses.replace(config, engine=DataConfig.engine, master=DataConfig.master)
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    defaults = json.loads(json.dumps(dataclasses.asdict(DataConfig())))
    always = ("social_direction", "max_bad_share", "validation_share", "test_share")
    return {k: v for k, v in values.items() if k in always or v != defaults[k]}


def describe(file: Path, root: Path) -> dict:
    """Name (inside the data folder), size and sha256 of a source file."""
    return {
        "name": _name(file, root),
        "bytes": file.stat().st_size,
        "sha256": checksums.sha256_of(file),
    }


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def read(path: Path) -> dict | None:
    """The manifest of the World at path; None when there is none that can be read."""
    try:
        return checksums.read(path / MANIFEST)
    except DamagedFile:
        return None


def read_hash(path: Path) -> str | None:
    """The hash of the World at path; None when its manifest cannot be read."""
    return (read(path) or {}).get("hash")


def is_same(
    path: Path, root: Path, files: Sequence[Path], settings: dict, described: Future[list[dict]]
) -> bool:
    """Whether the World at path has these settings and sources.

    described: what `describe` says of the files; awaited only when names and sizes agree.
    """
    manifest = read(path)
    if manifest is None or any(manifest.get(key) != value for key, value in settings.items()):
        return False
    # cheap first: hashing the files takes as long as reading them
    stored = [(source["name"], source["bytes"]) for source in manifest["sources"]]
    if stored != [(_name(file, root), file.stat().st_size) for file in files]:
        return False
    return manifest["sources"] == described.result()


def contents(world: World) -> dict:
    """Counts of a World's columns, the names of its attributes, and the range of its times."""
    events, owners = world.events, world.events.owners
    same_user = owners[1:] == owners[:-1]
    # inside a tie the order is the file's, which an evaluation must know
    tied = same_user & (events.times[1:] == events.times[:-1])
    events_of_item = np.bincount(events.items, minlength=world.num_items)
    counts = {
        "users": world.num_users,
        "items": world.num_items,
        "events": len(events.items),
        "social_edges": len(world.friends.ids),
        "users_without_events": int((np.diff(events.offsets) == 0).sum()),
        "items_without_events": int((events_of_item == 0).sum()),
        "share_of_tied_times": float(tied.sum() / max(same_user.sum(), 1)),
        "deleted_users": int(world.deleted_users.sum()),
        "deleted_items": int(world.deleted_items.sum()),
    }
    time_range = {"time_min": int(events.times.min()), "time_max": int(events.times.max())}
    return {"counts": counts, "user_attributes": list(world.attributes), **time_range}


def hashed(manifest: dict) -> dict:
    """The manifest with its `hash`."""
    rest = {k: v for k, v in manifest.items() if k != "hash" and k not in checksums.KEYS}
    # sorted keys, so that the hash does not follow the order in which they were set
    text = json.dumps(rest, sort_keys=True)
    return {**manifest, "hash": hashlib.sha256(text.encode()).hexdigest()}
