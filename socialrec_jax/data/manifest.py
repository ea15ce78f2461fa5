"""The manifest of a World: what it was made from, what it holds, and one hash that names it.

`hash` is the sha256 of everything else in the manifest. No time of day, path or version enters, so
the same files and settings give the same hash on every machine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from socialrec_jax.data.world import SCHEMA_VERSION, World


def describe(file: Path, root: Path) -> dict:
    """Name (inside the data folder), size and sha256 of a source file."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"name": _name(file, root), "bytes": file.stat().st_size, "sha256": digest}


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def read(path: Path) -> dict | None:
    """The manifest of the World at path; None when there is none that can be read."""
    try:
        return json.loads((path / "manifest.json").read_text())
    except (OSError, ValueError):
        return None


def may_be_same(path: Path, root: Path, files: list[Path], settings: dict) -> bool:
    """Whether the World at path has these settings, this schema, and sources of these names and
    sizes.
    """
    manifest = read(path)
    if manifest is None or manifest.get("schema_version") != SCHEMA_VERSION:
        return False
    known = [(source["name"], source["bytes"]) for source in manifest["sources"]]
    same_files = known == [(_name(file, root), file.stat().st_size) for file in files]
    return same_files and {key: manifest.get(key) for key in settings} == settings


def count(world: World) -> dict:
    """Counts of a World's columns."""
    events, owners = world.events, world.events.owners
    same_user = owners[1:] == owners[:-1]
    tied = same_user & (events.times[1:] == events.times[:-1])
    return {
        "users": world.num_users,
        "items": world.num_items,
        "events": len(events.items),
        "social_edges": len(world.friends.ids),
        "users_without_events": int((np.diff(events.offsets) == 0).sum()),
        "items_without_events": int(
            (np.bincount(events.items, minlength=world.num_items) == 0).sum()
        ),
        "share_of_tied_times": float(tied.sum() / max(same_user.sum(), 1)),
    }


def hashed(manifest: dict) -> dict:
    """The manifest with its `hash`."""
    text = json.dumps(
        {key: manifest[key] for key in sorted(manifest) if key != "hash"}, sort_keys=True
    )
    return {**manifest, "hash": hashlib.sha256(text.encode()).hexdigest()}
