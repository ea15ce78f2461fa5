"""The World as columns: as-of slices show the past and nothing else, and a saved World opens as it
was.
"""

from __future__ import annotations

import numpy as np
import pytest

from socialrec_jax.data.as_of import AsOf, unix_seconds
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import NOW, TEST, VALIDATION, World
from socialrec_jax.errors import BadData


def test_a_slice_as_of_a_time_holds_the_events_strictly_before_it(world):
    events = world.events
    for seconds in (
        int(events.times.min()),
        int(np.median(events.times)),
        int(events.times.max()) + 1,
    ):
        history_ends = world.history_ends(AsOf.time(seconds))
        for user in range(world.num_users):
            start, end = events.offsets[user : user + 2]
            assert (events.times[start : history_ends[user]] < seconds).all()
            assert (events.times[history_ends[user] : end] >= seconds).all()


@pytest.mark.parametrize("part", [VALIDATION, TEST])
def test_a_slice_before_a_split_holds_earlier_splits_only(world, part):
    history_ends = world.history_ends(AsOf.before(part))
    for user in range(world.num_users):
        start, end = world.events.offsets[user : user + 2]
        assert (world.event_splits[start : history_ends[user]] < part).all()
        assert (world.event_splits[history_ends[user] : end] >= part).all()


def test_now_shows_everything(world):
    np.testing.assert_array_equal(world.history_ends(NOW), world.events.offsets[1:])


def test_a_saved_world_opens_as_it_was(world):
    world.path.mkdir(exist_ok=True)
    world.save()
    opened = World.open(world.path)
    assert opened.manifest == world.manifest
    assert list(opened.user_ids) == list(world.user_ids)
    np.testing.assert_array_equal(opened.events.items, world.events.items)
    np.testing.assert_array_equal(opened.friends.ids, world.friends.ids)
    assert list(opened.items.ids) == list(world.items.ids)


@pytest.mark.parametrize("version", [1, None, 99])
def test_a_world_of_another_format_says_what_to_do(world, version):
    world.path.mkdir(exist_ok=True)
    world.with_manifest({**world.manifest, "schema_version": version}).save()
    with pytest.raises(
        BadData, match=f"format {version}, .* prepare the raw tables again"
    ) as error:
        World.open(world.path)
    assert "\n" not in str(error.value)


def test_replaced_and_added_texts_leave_the_others():
    column = Strings.of(["a", "", "Größe", "d"])
    changed = column.replaced(np.array([0, 2]), ["", "语言"]).extended(["e", ""])
    assert changed.tolist() == ["", "", "语言", "d", "e", ""]
    assert changed.blank.tolist() == [True, True, False, False, False, True]
    assert column.tolist() == ["a", "", "Größe", "d"]


@pytest.mark.parametrize("texts", [[], [""], ["a", "", "Größe", "语言", "a" * 999]])
def test_strings_round_trip_and_look_up(tmp_path, texts):
    column = Strings.of(texts)
    column.save(tmp_path / "column")
    opened = Strings.load(tmp_path / "column")
    assert list(opened) == opened.tolist() == texts
    expected = [place if text else -1 for place, text in enumerate(texts)]
    np.testing.assert_array_equal(opened.lookup([*texts, "unknown", ""]), [*expected, -1, -1])


@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        (1577872800, 1577872800),
        (1577872800123, 1577872800),
        (1577872800123456, 1577872800),
        (1577872800123456789, 1577872800),
        (20200101, 1577836800),
        (0, 0),
        (7, 7),
        (-5, -5),
    ],
)
def test_a_time_as_a_number_is_read_in_its_unit(number, seconds):
    assert unix_seconds(number) == seconds


@pytest.mark.parametrize("number", [10**31, -(10**31), 20201301])
def test_a_number_that_is_no_time_is_refused(number):
    with pytest.raises(ValueError, match=r"time|range|remains"):
        unix_seconds(number)


def test_taken_texts_are_those_of_the_rows_and_found_again():
    column = Strings.of(["b", "", "Größe", "a"])
    taken = column.take(np.array([2, 0, 1]))
    assert taken.tolist() == ["Größe", "b", ""]
    np.testing.assert_array_equal(column.lookup(taken), [2, 0, -1])
    assert column.lookup(Strings.of([])).tolist() == []
