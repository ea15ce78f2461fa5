"""The figures of a World are those of an obvious computation."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.summary import summarize
from socialrec_jax.data.world import NO_TIME, TEST, TRAIN
from tests.worlds import random_edges, random_world, with_friends, with_texts


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = random_world(tmp_path_factory.mktemp("world"))
    return with_friends(world, random_edges(world.num_users, 200, int(NO_TIME)))


def histories(world) -> list[list[int]]:
    offsets = world.events.offsets
    return [world.events.items[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def test_every_user_item_event_and_friendship_is_counted_once(world):
    found = summarize(world)
    assert sum(n for _, n in found.events_per_user) == world.num_users
    assert sum(n for _, n in found.events_per_item) == world.num_items
    assert sum(n for _, n in found.periods) == len(world.events.items)
    assert sum(n for _, n in found.event_types) == len(world.events.items)
    assert sum(n for _, n in found.friends_per_user) == world.num_users


def test_groups_hold_the_users_that_their_names_say(world):
    lengths = [len(items) for items in histories(world)]
    groups = dict(summarize(world).events_per_user)
    assert groups["2 to 4"] == sum(2 <= n <= 4 for n in lengths)
    assert groups["5 to 9"] == sum(5 <= n <= 9 for n in lengths)
    assert groups["10 to 19"] == sum(10 <= n <= 19 for n in lengths)


def test_the_most_popular_items_have_their_share_of_the_events(world):
    counts = sorted(np.bincount(world.events.items, minlength=world.num_items), reverse=True)
    shares = dict(summarize(world).popular_items)
    assert shares["10% of the items (4)"] == pytest.approx(sum(counts[:4]) / sum(counts))


def test_held_out_events_that_are_hard_are_counted(world):
    splits, items = world.event_splits, world.events.items
    trained = set(items[splits == TRAIN].tolist())
    tested = items[splits == TEST].tolist()
    shares = dict(summarize(world).held_out)
    cold = sum(item not in trained for item in tested) / len(tested)
    assert shares["of an item without training events"] == pytest.approx(cold)
    assert shares["of an item that the user had before"] == 0  # of a permutation of the items


def test_friends_who_copy_have_more_in_common_than_pairs_at_random(world):
    rows = [set(items) for items in histories(world)]

    def cosine(a: int, b: int) -> float:
        return len(rows[a] & rows[b]) / np.sqrt(len(rows[a]) * len(rows[b]))

    owners = np.repeat(np.arange(world.num_users), np.diff(world.friends.offsets))
    expected = np.mean([cosine(a, b) for a, b in zip(owners, world.friends.ids, strict=True)])
    assert dict(summarize(world).common_items)["friends"] == pytest.approx(expected, rel=1e-5)

    # a user who is the own friend has all items in common
    selves = with_friends(world, [(u, u, 1.0, int(NO_TIME)) for u in range(world.num_users)])
    common = dict(summarize(selves).common_items)
    assert common["friends"] == pytest.approx(1, rel=1e-5)
    assert common["pairs at random"] < 0.6


def test_titles_are_counted_by_script(world):
    titles = ["Tea", "茶", "чай", "чай 2", "42", ""] + [""] * (world.num_items - 6)
    found = dict(summarize(with_texts(world, titles=titles)).scripts)
    assert found == {"Cyrillic": 2, "Latin": 1, "Chinese characters": 1, "no letters": 1}


def test_an_attribute_with_a_value_of_its_own_for_everybody_is_no_group(world):
    regions = Strings.of(["north", "south", ""] * (world.num_users // 3))
    names = Strings.of([f"name {u}" for u in range(world.num_users)])
    world = dataclasses.replace(world, attributes={"region": regions, "name": names})
    found = summarize(world).attributes
    assert dict(found["region"]) == {"north": 20, "south": 20, "unknown": 20}
    assert found["name"] == []


def test_numeric_ids_in_the_order_of_time_are_found(world):
    events, num_users = world.events, world.num_users
    first_times = events.times[events.offsets[:-1]]
    times = events.times - np.repeat(first_times, np.diff(events.offsets)) + 10 * events.owners
    ids = Strings.of([str(u) for u in range(num_users)])
    events = dataclasses.replace(events, times=times)
    ordered = dataclasses.replace(world, events=events, user_ids=ids)
    assert summarize(ordered).order_of_ids["users"] == pytest.approx(1)
    assert "users" not in summarize(world).order_of_ids  # these ids are no numbers
