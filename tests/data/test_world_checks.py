"""Each kind of damage to each file of a World is found and named, and nothing in it is executed."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from socialrec_jax.data import world_checks
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import NO_TIME, World
from socialrec_jax.errors import DamagedFile
from tests import damage
from tests.worlds import random_edges, random_world, with_friends, with_texts


def saved_world(path, seed: int) -> World:
    """A World in which no column is empty."""
    world = random_world(path, seed=seed)
    world = with_friends(world, random_edges(60, 90, since=(int(NO_TIME), 10**6), seed=seed))
    texts = [f"text {seed} {number}" for number in range(world.num_items)]
    world = with_texts(world, titles=texts, descriptions=texts, tags=texts, categories=texts)
    vectors = np.full((world.num_items, 3), seed + 1, np.float32)
    world = dataclasses.replace(
        world.with_manifest({**world.manifest, "user_attributes": ["region"]}),
        items=dataclasses.replace(world.items, vectors=vectors),
        attributes={"region": Strings.of([f"r{seed}"] * world.num_users)},
    )
    path.mkdir()
    world.save()
    return world


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Two Worlds of the same size."""
    folder = tmp_path_factory.mktemp("worlds")
    for name, seed in (("world", 0), ("other", 1)):
        saved_world(folder / name, seed)
    return folder


def opened(path) -> World:
    world = World.open(path)
    world_checks.check_contents(world)
    return world


@pytest.mark.parametrize("kind", damage.KINDS, ids=lambda kind: kind.__name__)
def test_every_damage_is_named(worlds, tmp_path, kind):
    names = [file.relative_to(worlds / "world") for file in (worlds / "world").rglob("*.npy")]
    for name in [*names, "manifest.json"]:
        path = tmp_path / "world"
        shutil.copytree(worlds / "world", path)
        before = json.loads((path / "manifest.json").read_text())
        if kind(path / name, worlds / "other" / name):
            _check_named(path, name, before)
        assert not list(path.rglob("*.executed"))
        shutil.rmtree(path)


def _check_named(path, name, before):
    if not (path / "manifest.json").exists():
        return  # there is no World any more, see test_mistakes
    said = damage.named_by(lambda: opened(path))
    if said is None:
        content = {**opened(path).manifest, **json.loads((path / "manifest.json").read_text())}
        assert content == before, "only blanks between the values of the manifest may differ"
        return
    # the manifest of another World says that all other files are damaged
    assert str(path / name) in said or name == "manifest.json"
    assert "train.py --data DIR" in said
    assert "\n" not in said


WRONG_NUMBERS = {
    "events/items": lambda column: column + 40,
    "events/offsets": lambda column: np.concatenate([[0], column[1:-1][::-1], column[-1:]]),
    "events/types": lambda column: column + 2,
    "events/times": lambda column: column[::-1],
    "events/values": lambda column: column * np.nan,
    "event_splits": lambda column: column[::-1],
    "friends/ids": lambda column: column - 60,
    "friends/weights": lambda column: column * np.inf,
    "items/vectors": lambda column: column * np.nan,
    "items/titles.offsets": lambda column: np.concatenate([[0], column[1:-1][::-1], column[-1:]]),
}


@pytest.mark.parametrize("name", WRONG_NUMBERS)
def test_wrong_numbers_are_found_without_checksums(worlds, tmp_path, caplog, name):
    path, file = tmp_path / "world", tmp_path / "world" / f"{name}.npy"
    shutil.copytree(worlds / "world", path)
    without_checksums(path)
    opened(path)
    assert "has no checksums" in caplog.text

    column = np.load(file)
    np.save(file, WRONG_NUMBERS[name](column).astype(column.dtype))
    with pytest.raises(DamagedFile, match=name):
        opened(path)


def without_checksums(path):
    """A World as older programs wrote it."""
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["files"], manifest["sha256"]
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_verifying_adds_checksums_and_changes_nothing_else(worlds, tmp_path):
    path = tmp_path / "world"
    shutil.copytree(worlds / "world", path)
    whole = (path / "manifest.json").read_bytes()
    without_checksums(path)
    world_checks.verify(World.open(path))
    assert (path / "manifest.json").read_bytes() == whole
