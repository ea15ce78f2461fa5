"""A World grows by its next generation: numbers stay, and nothing else differs from preparing all.

The property is checked on random shops that are split into parts: preparing the first part and
appending the others gives the same histories, friends and texts as preparing all parts at once,
up to numbers.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socialrec_jax.config import DataConfig
from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, InputMissing, UsageError
from tests.data.prepare.growing_shops import (
    Part,
    all_at_once,
    check_numbers_stay,
    deleting,
    deletions,
    first_part,
    friendships,
    grow,
    histories,
    parts,
    texts,
)


@settings(max_examples=14, deadline=None)
@given(
    generations=st.lists(parts, min_size=2, max_size=4),
    deleted=st.lists(deletions, min_size=4, max_size=4),
    split=st.sampled_from(["leave-one-out", "time"]),
    direction=st.sampled_from(["both", "out", "in"]),
)
def test_appending_parts_equals_preparing_all_at_once(
    tmp_path_factory, generations, deleted, split, direction
):
    folder = tmp_path_factory.mktemp("grown")
    generations[0] = first_part(generations[0])
    generations[1:] = [
        deleting(part, *gone) for part, gone in zip(generations[1:], deleted, strict=False)
    ]
    worlds = grow(folder, generations, split, direction)
    whole_folder = all_at_once(generations).write(folder / "all")
    config = DataConfig(social_direction=direction)
    whole = prepare(whole_folder, folder / "whole", config, split)

    for before, after, part in zip(worlds[:-1], worlds[1:], generations[1:], strict=True):
        check_numbers_stay(before, after, part)
    grown = worlds[-1]
    assert histories(grown) == histories(whole)
    assert friendships(grown) == friendships(whole)
    assert texts(grown) == texts(whole)
    for key in ("events", "social_edges", "share_of_tied_times"):
        assert grown.manifest["counts"][key] == whole.manifest["counts"][key]
    assert all(len(column) == grown.num_users for column in grown.attributes.values())


SHOP = Part(
    events=[("u1", "i1", 1, "view", 1), ("u1", "i2", 2, "view", 1), ("u2", "i1", 3, "buy", 1)],
    social=[("u1", "u2", 1, 5)],
    items=[("i1", "first", "a", 2, [1, 2])],
    users=[("u1", "north"), ("u2", "south")],
)
ONE_EVENT = Part([("u3", "i3", 9, "view", 1)], [], [], [])


def shop(folder: Path) -> World:
    return grow(folder, [SHOP], "leave-one-out", "both")[0]


def add(world: World, folder: Path, part: Part, name: str = "next") -> World:
    return append(world, part.write(folder / f"{name}-tables"), folder / name)


def test_newcomers_of_one_append_are_numbered_as_in_a_first_generation(tmp_path):
    events = [(f"new{n}", f"thing{n}", n, "view", 1) for n in range(20)]
    part = Part(events, [], [], [])
    grown = add(shop(tmp_path), tmp_path, part)
    alone = prepare(part.write(tmp_path / "alone"), tmp_path / "w", DataConfig(), "leave-one-out")
    assert list(grown.user_ids)[2:] == list(alone.user_ids)
    assert list(grown.items.ids)[2:] == list(alone.items.ids)


def test_a_world_knows_its_ancestors(tmp_path):
    first = shop(tmp_path)
    second = add(first, tmp_path, SHOP)
    third = add(second, tmp_path, ONE_EVENT, "third")
    hashes = [world.manifest["hash"] for world in (first, second, third)]
    assert len(set(hashes)) == 3
    assert third.manifest["parent"] == hashes[1]
    assert third.manifest["lineage"] == hashes[:2]
    assert all(third.descends_from(known) for known in hashes)
    assert not first.descends_from(hashes[1])
    assert not third.descends_from(None)


def test_texts_stay_as_first_given_while_price_and_attributes_are_the_newest(tmp_path):
    again = Part(
        events=[],
        social=[],
        items=[("i1", "second", "b", 7, [3, 4]), ("i2", "its first", "c", "", [5, 6])],
        users=[("u1", "east"), ("u2", "")],
    )
    world = add(shop(tmp_path), tmp_path, again)
    one, two = world.items.ids.lookup(["i1", "i2"]).tolist()
    assert (world.items.titles[one], world.items.titles[two]) == ("first", "its first")
    np.testing.assert_array_equal(world.items.vectors[[one, two]], [[1, 2], [5, 6]])
    assert world.items.prices[one] == 7
    regions = zip(world.user_ids, world.attributes["region"], strict=True)
    assert dict(regions) == {"u1": "east", "u2": "south"}


def test_new_attributes_of_users_become_new_columns(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "users.csv").write_text("user,Region,age\nu1,west,33\nu7,east,44\n")
    world = append(shop(tmp_path), folder, tmp_path / "next")
    assert list(world.attributes) == ["region", "age"]
    rows = zip(world.user_ids, *world.attributes.values(), strict=True)
    assert set(rows) == {("u1", "west", "33"), ("u2", "south", ""), ("u7", "east", "44")}


def test_who_is_deleted_leaves_a_tombstone_that_says_nothing(tmp_path):
    gone = Part(
        events=[("leaver", "i2", 5, "view", 1), ("u2", "recalled", 6, "view", 1)],
        social=[("leaver", "u2", 1, 5)],
        items=[("recalled", "Recalled lamp", "lamps", 2, [1, 2])],
        users=[("leaver", "far away")],
    )
    known = grow(tmp_path, [all_at_once([SHOP, gone])], "leave-one-out", "both")[0]
    user, item = known.user_ids.lookup(["leaver"])[0], known.items.ids.lookup(["recalled"])[0]
    world = append(
        known,
        None,
        tmp_path / "next",
        deleted_users=["leaver", "unknown"],
        deleted_items=["recalled"],
    )
    assert (world.num_users, world.num_items) == (known.num_users, known.num_items)
    assert world.user_ids.lookup(["leaver", ""]).tolist() == [-1, -1]
    assert world.items.ids.lookup(["recalled"]).tolist() == [-1]
    assert world.deleted_users.nonzero()[0].tolist() == [user]
    assert world.deleted_items.nonzero()[0].tolist() == [item]
    assert user not in world.events.owners
    assert item not in world.events.items
    assert user not in world.friends.ids
    assert not world.items.available[item]
    files = [path for path in world.path.rglob("*") if path.is_file()]
    for trace in (b"leaver", b"far away", b"ecalled", b"lamps"):
        assert not [path for path in files if trace in path.read_bytes()], trace


def test_who_comes_back_after_a_deletion_is_a_newcomer(tmp_path):
    known = shop(tmp_path)
    tables = SHOP.write(tmp_path / "again")
    world = append(known, tables, tmp_path / "next", deleted_users=["u1"])
    assert world.user_ids.lookup(["u1"]).tolist() == [known.num_users]
    assert world.num_users == known.num_users + 1


def test_a_next_generation_is_reused_until_something_changes(tmp_path):
    known = shop(tmp_path)
    tables, out = ONE_EVENT.write(tmp_path / "tables"), tmp_path / "next"

    def written(**deletions) -> int:
        append(known, tables, out, **deletions)
        return (out / "manifest.json").stat().st_mtime_ns

    first = written()
    assert written() == first
    deleted = written(deleted_users=["u1"])
    assert deleted != first
    assert written(deleted_users=["u1"]) == deleted


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"items.csv": "item;image_vector\ni5;[1, 2, 3]\n"}, "vectors hold 3 numbers"),
        ({"events.csv": "user;item;timestamp\nu;i;\n"}, "timestamp"),
        ({"events.csv": "user;item;timestamp\nu;i;soon\n"}, "unusable"),
    ],
)
def test_bad_tables_stop_and_leave_nothing(tmp_path, content, says):
    known = shop(tmp_path)
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text)
    with pytest.raises(BadData, match=says):
        append(known, folder, tmp_path / "next")
    assert not list(tmp_path.glob("*next*"))


def test_mistakes_of_folders(tmp_path):
    known = shop(tmp_path)
    with pytest.raises(UsageError):
        append(known, None, known.path)
    with pytest.raises(UsageError):
        append(known, None, tmp_path / "part0")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputMissing):
        append(known, tmp_path / "nothing", tmp_path / "next")
    with pytest.raises(BadData, match="no event is left"):
        append(known, None, tmp_path / "next", deleted_users=["u1", "u2"])


def test_preparing_reaches_no_jax():
    code = """
import pkgutil, sys
import socialrec_jax.data.prepare as room
for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    __import__(module.name)
assert "socialrec_jax.data.prepare.engines.duckdb.engine" in sys.modules
assert "jax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_known_events_are_left_out_and_counted(tmp_path):
    known = [("u1", "i1", 1, "view", 1), ("u2", "i1", 3, "buy", 1)]
    # Another second, type or item is another event; so is one of a new user.
    other = [("u1", "i1", 2, "view", 1), ("u1", "i1", 1, "buy", 1), ("u2", "i2", 3, "buy", 1)]
    newcomer = [("u9", "i1", 1, "view", 1), ("u9", "i1", 1, "view", 1)]
    first = shop(tmp_path)
    everything = Part([*known, *other, *newcomer], [], [], []).write(tmp_path / "everything")
    rest = Part([*other, *newcomer], [], [], []).write(tmp_path / "rest")
    dropped = append(first, everything, tmp_path / "dropped", drop_known=True)
    assert dropped.manifest["counts"]["known_events"] == len(known)
    assert histories(dropped) == histories(append(first, rest, tmp_path / "without"))
