"""Random shops in parts, and what a World that grew by them must hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from socialrec_jax.config import DataConfig, Split
from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.world import World

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
