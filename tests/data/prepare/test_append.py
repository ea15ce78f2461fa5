"""A World grows by its next generation: numbers stay, and nothing else differs from preparing all.

The property is checked on random shops that are split into parts: preparing the first part and
appending the others gives the same histories, friends and texts as preparing all parts at once,
up to numbers.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socialrec_jax.config import DataConfig, Split
from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, InputMissing, UsageError

COLUMNS = {
    "events": ("user", "item", "timestamp", "event_type", "value"),
    "social": ("src", "dst", "weight", "timestamp"),
    "items": ("item", "title", "tags", "price", "image_vector"),
    "users": ("user", "region"),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """The rows of one folder of tables, and what is deleted before they are appended."""

    events: list[tuple]
    social: list[tuple]
    items: list[tuple]
    users: list[tuple]
    deleted_users: list[str] = dataclasses.field(default_factory=list)
    deleted_items: list[str] = dataclasses.field(default_factory=list)

    def write(self, folder: Path) -> Path | None:
        """The folder of tables; None without any row."""
        if not any(getattr(self, table) for table in COLUMNS):
            return None
        folder.mkdir(parents=True)
        for table, columns in COLUMNS.items():
            rows = [columns, *getattr(self, table)]
            if len(rows) > 1:
                lines = "".join(";".join(map(str, row)) + "\n" for row in rows)
                (folder / f"{table}.csv").write_text(lines)
        return folder


USERS, ITEMS = [f"u{n}" for n in range(8)], [f"i{n}" for n in range(9)]
user_ids, item_ids = st.sampled_from(USERS), st.sampled_from(ITEMS)
events_of_part = st.lists(
    st.tuples(
        user_ids,
        item_ids,
        st.integers(0, 9),
        st.sampled_from(["view", "buy", "share"]),
        st.integers(1, 5),
    ),
    max_size=25,
)
edges_of_part = st.lists(
    st.tuples(user_ids, user_ids, st.integers(1, 4), st.one_of(st.just(""), st.integers(0, 9))),
    max_size=12,
)
items_of_part = st.lists(
    st.builds(
        lambda item, seed: (item, f"title {seed}", f"a|{seed}", seed / 2, [seed, 1.5]),
        item_ids,
        st.integers(1, 99),
    ),
    max_size=6,
    unique_by=lambda row: row[0],
)
users_of_part = st.lists(
    st.tuples(user_ids, st.sampled_from(["north", "south"])),
    max_size=4,
    unique_by=lambda row: row[0],
)
parts = st.builds(Part, events_of_part, edges_of_part, items_of_part, users_of_part)
deletions = st.tuples(
    st.lists(user_ids, max_size=2, unique=True), st.lists(item_ids, max_size=2, unique=True)
)
# never deleted, and early enough that a time split has something to train on
kept_events = [("u9", "i9", time, "view", 1) for time in (-5, -4, -3)]
first_item = ("i9", "title", "a", 1, [1, 1])  # so that every World has vectors


def first_part(part: Part) -> Part:
    return dataclasses.replace(
        part, events=[*kept_events, *part.events], items=[first_item, *part.items]
    )


def deleting(part: Part, users: list[str], items: list[str]) -> Part:
    return dataclasses.replace(part, deleted_users=users, deleted_items=items)


def grow(folder: Path, generations: Sequence[Part], split: Split, direction) -> list[World]:
    """The World of the first part, and the next generation by each of the others."""
    first = generations[0].write(folder / "part0")
    assert first is not None
    config = DataConfig(social_direction=direction)
    worlds = [prepare(first, folder / "world0", config, split)]
    for number, part in enumerate(generations[1:], 1):
        world = append(
            worlds[-1],
            part.write(folder / f"part{number}"),
            folder / f"world{number}",
            deleted_users=part.deleted_users,
            deleted_items=part.deleted_items,
        )
        worlds.append(world)
    return worlds


def all_at_once(generations: Sequence[Part]) -> Part:
    """The rows of all parts in their order, without those deleted after they came."""
    rows: dict[str, list[tuple]] = {table: [] for table in COLUMNS}
    for part in generations:
        users, items = set(part.deleted_users), set(part.deleted_items)
        rows["events"] = [r for r in rows["events"] if r[0] not in users and r[1] not in items]
        rows["social"] = [r for r in rows["social"] if r[0] not in users and r[1] not in users]
        rows["items"] = [r for r in rows["items"] if r[0] not in items]
        rows["users"] = [r for r in rows["users"] if r[0] not in users]
        for table in COLUMNS:
            rows[table] += getattr(part, table)
    return Part(**rows)


def histories(world: World) -> dict[str, list[tuple]]:
    """What each user with events did, by ids and names, with the split of each event."""
    events = world.events
    by_user: dict[str, list[tuple]] = {}
    for row, user in enumerate(events.owners):
        event = (
            world.items.ids[int(events.items[row])],
            int(events.times[row]),
            world.event_types[events.types[row]],
            float(events.values[row]),
            int(world.event_splits[row]),
        )
        by_user.setdefault(world.user_ids[int(user)], []).append(event)
    return by_user


def friendships(world: World) -> set[tuple]:
    graph, names = world.friends, world.user_ids
    owners = np.repeat(np.arange(world.num_users), np.diff(graph.offsets))
    columns = zip(owners, graph.ids, graph.weights, graph.times, strict=True)
    return {(names[u], names[f], float(weight), int(time)) for u, f, weight, time in columns}


def texts(world: World) -> dict[str, tuple]:
    """Title, tags and vector of each item that has them."""
    items = world.items
    described = {}
    for number, item in enumerate(items.ids):
        if any(items.vectors[number]):
            vector = tuple(items.vectors[number].tolist())
            described[item] = (items.titles[number], items.tags[number], vector)
    return described


def check_numbers_stay(before: World, after: World, part: Part) -> None:
    for ids, later_ids, deleted in (
        (before.user_ids, after.user_ids, part.deleted_users),
        (before.items.ids, after.items.ids, part.deleted_items),
    ):
        expected = ["" if name in deleted else name for name in ids]
        assert list(later_ids)[: len(ids)] == expected
    assert after.event_types[: len(before.event_types)] == before.event_types


@settings(max_examples=40, deadline=None)
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
