"""Lists that users were shown: what comes back, and what followed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from socialrec_jax.data.features.examination import examination
from socialrec_jax.data.impressions import Impressions, ShownLists, lists
from socialrec_jax.data.recommended import find_recommended, read_recommended
from socialrec_jax.errors import BadData, DamagedFile
from socialrec_jax.serving.writer import TEXT_SUFFIXES, write_shard, write_tables
from tests.worlds import events_of, world_of

FIRST, GAP = 1_000_000, 3600  # seconds of the first event, and from one to the next


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two users with four events each, an hour apart."""
    events = events_of([[0, 1, 2, 3], [4, 5, 6, 7]], FIRST, GAP)
    return world_of(tmp_path_factory.mktemp("shown"), events, num_items=10)


def impressions(rows: list[tuple]) -> Impressions:
    users, items, ranks, times = np.array(rows, np.int64).T
    return Impressions(users, items, ranks, times, np.zeros(len(rows), bool))


def test_an_event_belongs_to_the_newest_list_before_it(world):
    early, late = FIRST + GAP, FIRST + 3 * GAP
    shown = impressions([(0, 1, 2, early), (0, 3, 1, early), (0, 3, 1, late), (0, 9, 2, late)])
    found = lists(shown, world, world.history_ends())
    assert found.items.tolist() == [[3, 1], [3, 9]]
    # Item 3 was taken after the second list, so the first did not bring it about.
    assert found.taken.any(axis=-1).tolist() == [[False, True], [True, False]]
    assert found.history_ends.tolist() == [1, 3]


def test_a_list_that_nobody_came_back_to_does_not_count(world):
    after_all, before_all = FIRST + 9 * GAP, FIRST - 1
    shown = impressions([(0, 1, 1, after_all), (1, 4, 1, before_all)])
    assert lists(shown, world, world.history_ends()).users.tolist() == [1]
    # Hidden events are as if they had not happened.
    assert not len(lists(shown, world, world.events.starts))


def shown_at_random(probabilities: list[float], relevance: float, num_lists: int) -> ShownLists:
    """Lists in random order whose places are looked at with these probabilities."""
    rng = np.random.default_rng(0)
    size = (num_lists, len(probabilities))
    taken = (rng.random(size) < probabilities) & (rng.random(size) < relevance)
    numbers = np.zeros(num_lists, np.int64)
    explored = np.ones(num_lists, bool)
    items = np.zeros(size, np.int64)
    return ShownLists(numbers, numbers, numbers, items, explored, taken[..., None])


def test_places_are_estimated_from_lists_in_random_order():
    expected = [1.0, 0.5, 0.33, 0.25]
    shown = shown_at_random(expected, relevance=0.4, num_lists=20_000)
    np.testing.assert_allclose(examination(shown), expected, atol=0.03)
    # Relevance is the same at all places, so it does not matter.
    rarely = shown_at_random(expected, relevance=0.1, num_lists=20_000)
    np.testing.assert_allclose(examination(rarely), expected, atol=0.06)
    # Without lists in random order nothing is known.
    sorted_lists = dataclasses.replace(shown, explored=np.zeros(len(shown), bool))
    assert examination(sorted_lists) is None


def test_the_inverse_is_clipped_and_places_do_not_rise():
    places = examination(shown_at_random([0.9, 1.0, 0.01], relevance=0.5, num_lists=3_000))
    assert places is not None
    assert places[0] == places[1] == 1
    assert places[2] == pytest.approx(0.1)


def table(world, **columns) -> pa.Table:
    users, items = ([world.user_ids[0]] * 2, [world.items.ids[1], world.items.ids[2]])
    return pa.table({"user_id": users, "item_id": items, "rank": [1, 2], **columns})


def test_all_kinds_of_files_give_the_same_rows(world, tmp_path):
    whole = table(world, timestamp=[FIRST] * 2, explored=[True, False], score=[0.5, 0.25])
    whole = whole.append_column("explanation", pa.array(['a "lamp"', "of two\nlines"]))
    names = [f"recommended{suffix}" for suffix in (".parquet", *TEXT_SUFFIXES)]
    for name in names:
        write_tables(tmp_path / name, [whole])
    (tmp_path / "recommended").mkdir()
    write_shard(tmp_path / "recommended" / "part-00000.parquet", [whole])
    (tmp_path / "recommended" / "_SUCCESS").write_text("{}")
    for name in (*names, "recommended"):
        read = read_recommended(tmp_path / name, world, None)
        assert read.items.tolist() == [1, 2]
        assert read.explored.tolist() == [True, False]
        assert read.times.tolist() == [FIRST] * 2
    with pytest.raises(BadData, match="keep one of them"):
        find_recommended(tmp_path)


@pytest.mark.parametrize("suffix", [".parquet", *TEXT_SUFFIXES])
def test_every_file_that_serving_writes_is_found(tmp_path, suffix):
    file = tmp_path / f"recommended{suffix}"
    file.touch()
    assert find_recommended(tmp_path) == file
    file.rename(tmp_path / "recommended.xlsx")
    with pytest.raises(BadData, match="unknown kind of file"):
        find_recommended(tmp_path)


def test_unusable_rows_are_counted(world, tmp_path, caplog):
    strange = table(world).set_column(1, "item_id", pa.array(["nobody's", world.items.ids[2]]))
    pq.write_table(strange, tmp_path / "recommended.parquet")
    read = read_recommended(tmp_path / "recommended.parquet", world, FIRST)
    assert read.items.tolist() == [2]
    assert "1 of 2 rows are left out" in caplog.text


def test_mistakes_are_named(world, tmp_path):
    file = tmp_path / "recommended.parquet"
    pq.write_table(table(world), file)
    with pytest.raises(BadData, match="no column timestamp"):
        read_recommended(file, world, None)
    pq.write_table(table(world).drop_columns(["rank"]), file)
    with pytest.raises(BadData, match="no column rank"):
        read_recommended(file, world, FIRST)
    file.write_bytes(b"PAR1 no")
    with pytest.raises(BadData, match="cannot be read"):
        read_recommended(file, world, FIRST)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_dates_are_seconds_whatever_their_unit(world, tmp_path, unit):
    dates = pa.array([FIRST] * 2, pa.timestamp("s")).cast(pa.timestamp(unit))
    pq.write_table(table(world, timestamp=dates), tmp_path / "recommended.parquet")
    read = read_recommended(tmp_path / "recommended.parquet", world, None)
    assert read.times.tolist() == [FIRST] * 2


def test_columns_of_another_kind_are_named(world, tmp_path, caplog):
    file = tmp_path / "recommended.parquet"
    pq.write_table(table(world, timestamp=[1000 * (FIRST + 10**9)] * 2), file)
    with pytest.raises(BadData, match="no unix seconds"):
        read_recommended(file, world, None)
    (tmp_path / "recommended.csv").write_text("user_id,item_id,rank\nuser0,item1,first\n")
    with pytest.raises(BadData, match="first"):
        read_recommended(tmp_path / "recommended.csv", world, FIRST)
    # A list of a billion places would be a table of as many columns.
    pq.write_table(table(world).set_column(2, "rank", pa.array([1, 10**9])), file)
    assert len(read_recommended(file, world, FIRST)) == 1
    assert "their rank is not 1 to 1000" in caplog.text


def test_rows_are_kept_and_lose_who_is_deleted(world, tmp_path):
    shown = impressions([(0, 1, 1, FIRST), (1, 2, 1, FIRST)])
    shown.joined(shown).save(tmp_path)
    loaded = Impressions.load(tmp_path)
    assert loaded is not None
    assert loaded.users.tolist() == [0, 1, 0, 1]
    without = dataclasses.replace(world, user_ids=world.user_ids.replaced(np.array([1]), [""]))
    assert loaded.without_deleted(without).users.tolist() == [0, 0]
    assert Impressions.load(tmp_path / "nowhere") is None


def test_changed_numbers_are_found(tmp_path):
    shown = impressions([(0, 1, 1, FIRST), (1, 2, 1, FIRST)])
    shown.save(tmp_path)
    file = tmp_path / "impressions.npz"
    content, times = file.read_bytes(), shown.times.tobytes()
    assert content.count(times) == 1
    file.write_bytes(content.replace(times, (shown.times + 1).tobytes()))
    with pytest.raises(DamagedFile, match="is damaged"):
        Impressions.load(tmp_path)


def test_a_file_of_impressions_with_other_numbers_is_damaged(tmp_path):
    shown = impressions([(0, 1, 1, FIRST), (1, 2, 1, FIRST)])
    shown.save(tmp_path)
    saved = Impressions.load(tmp_path)
    assert saved is not None
    assert saved.items.tolist() == [1, 2]
    # A whole archive whose columns somebody has exchanged.
    file = tmp_path / "impressions.npz"
    with np.load(file) as columns:
        changed = {**columns, "users": columns["items"]}
    np.savez(file, **changed)
    with pytest.raises(DamagedFile, match="not what was written"):
        Impressions.load(tmp_path)
