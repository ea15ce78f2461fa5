"""Raw tables to World: the same World from every kind of file, stable order, honest splits, nothing
half-written.
"""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socialrec_jax.data.prepare.engines.duckdb import engine
from socialrec_jax.data.prepare.schema import DEFAULT_TYPE
from socialrec_jax.data.world import NO_TIME, TEST, TRAIN, VALIDATION, World
from socialrec_jax.errors import BadData, InputMissing, UsageError
from tests.data.prepare.small_tables import flat, make, sequences, write_events, write_tables

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"


@pytest.mark.parametrize(
    "suffix", ["csv", "tsv", "jsonl", "json", "csv.gz", "csv.zst", "jsonl.gz", "jsonl.zst"]
)
def test_every_kind_of_file_gives_the_same_world(reference, tmp_path, suffix):
    world = make(write_tables(tmp_path / "raw", suffix), tmp_path / "world")
    for name, column in flat(reference).items():
        np.testing.assert_array_equal(flat(world)[name], column, err_msg=name)
    assert world.manifest["counts"] == reference.manifest["counts"]


def test_large_tables_are_staged_by_several_threads_and_give_the_same_world(
    reference, tmp_path, monkeypatch
):
    # those of small tables are staged two at a time
    monkeypatch.setattr(engine, "ONE_THREAD_BYTES", 0)
    world = make(write_tables(tmp_path / "raw", "parquet"), tmp_path / "world")
    for name, column in flat(reference).items():
        np.testing.assert_array_equal(flat(world)[name], column, err_msg=name)
    assert not (world.path / "spill").exists()


def test_part_files_are_read_in_the_order_of_their_names(reference, tmp_path):
    folder = write_tables(tmp_path / "raw", "parquet")
    (folder / "events").mkdir()
    for part in (1, 0):
        rows = f"SELECT * FROM '{folder}/events.parquet' LIMIT 50 OFFSET {50 * part}"
        duckdb.execute(f"COPY ({rows}) TO '{folder}/events/part-{part}.{['csv', 'parquet'][part]}'")
    (folder / "events.parquet").unlink()
    world = make(folder, tmp_path / "world")
    for name, column in flat(reference).items():
        np.testing.assert_array_equal(flat(world)[name], column, err_msg=name)


rows_strategy = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 4))),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=rows_strategy.filter(lambda rows: any(time is not None for *_, time in rows)))
def test_csr_is_a_stable_sort_in_which_unknown_times_keep_their_place(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("random")
    world = make(write_events(folder / "raw", rows), folder / "world")
    oldest = min(time for *_, time in rows if time is not None)
    for user, history in sequences(world).items():
        mine = [(item, time) for owner, item, time in rows if str(owner) == user]
        known = [time for _, time in mine if time is not None]
        current = known[0] if known else oldest
        filled = []
        for item, time in mine:
            current = current if time is None else time
            filled.append((item, current))
        assert history == [str(item) for item, _ in sorted(filled, key=lambda pair: pair[1])]
    assert world.manifest["counts"]["events_without_time"] == sum(time is None for *_, time in rows)


def test_the_friend_graph_equals_a_naive_one(tmp_path):
    folder = write_events(tmp_path / "raw", [("a", 1, 1)])
    edges = [
        ("a", "b", 1, 9),
        ("a", "b", 3, 5),
        ("b", "a", 2, ""),
        ("c", "c", 1, 1),
        ("c", "a", 1, 7),
    ]
    (folder / "social.csv").write_text(
        "\n".join(",".join(map(str, e)) for e in [("src", "dst", "weight", "ts"), *edges])
    )
    expected = {
        "out": {("a", "b", 3, 5), ("b", "a", 2, NO_TIME), ("c", "a", 1, 7)},
        "in": {("b", "a", 3, 5), ("a", "b", 2, NO_TIME), ("a", "c", 1, 7)},
        "both": {
            ("a", "b", 3, NO_TIME),
            ("b", "a", 3, NO_TIME),
            ("a", "c", 1, 7),
            ("c", "a", 1, 7),
        },
    }
    for direction, edges_of_graph in expected.items():
        world = make(folder, tmp_path / direction, social_direction=direction)
        graph, names = world.friends, world.user_ids
        owners = np.repeat(np.arange(3), np.diff(graph.offsets))
        columns = zip(owners, graph.ids, graph.weights, graph.times, strict=True)
        assert {
            (names[u], names[f], weight, time) for u, f, weight, time in columns
        } == edges_of_graph
        counts = world.manifest["counts"]
        assert (counts["self_loops"], counts["duplicate_edges"]) == (1, 1)


def test_what_is_known_of_items_and_users(reference, tmp_path):
    items = reference.items
    where = {name: place for place, name in enumerate(items.ids)}
    assert items.titles[where["i4"]] == 'Löffel, "4"'
    assert (
        items.prices[where["i3"]],
        items.available[where["i3"]],
        items.available[where["i4"]],
    ) == (1.5, False, True)
    np.testing.assert_array_equal(items.vectors[where["i7"]], [7, 0.5])
    assert list(reference.attributes) == ["region"]
    for user, region in zip(reference.user_ids, reference.attributes["region"], strict=True):
        number = int(user[1:])
        assert region == (str(number % 2) if number < 8 else "")
    assert reference.manifest["counts"]["items_without_events"] == 2


def test_numbers_do_not_follow_first_appearance(tmp_path):
    rows = [(f"u{n}", f"i{n}", n) for n in range(300)]
    world = make(write_events(tmp_path / "raw", rows), tmp_path / "world")
    first_seen = np.array([int(name[1:]) for name in world.items.ids])
    assert abs(np.corrcoef(first_seen, np.arange(300))[0, 1]) < 0.2


def test_event_types_are_named_by_falling_count(reference, tmp_path):
    assert reference.event_types == ["view", "buy"]
    assert make(write_events(tmp_path / "raw", [("a", 1, 1)]), tmp_path / "world").event_types == [
        DEFAULT_TYPE
    ]


def test_leave_one_out_needs_three_events(tmp_path):
    rows = [("a", 1, 1), ("a", 2, 2), *(("b", n, n) for n in range(4))]
    world = make(write_events(tmp_path / "raw", rows), tmp_path / "world")
    splits = {
        name: world.event_splits[world.events.owners == u].tolist()
        for u, name in enumerate(world.user_ids)
    }
    assert splits == {"a": [TRAIN, TRAIN], "b": [TRAIN, TRAIN, VALIDATION, TEST]}


def test_the_time_split_cuts_at_the_same_times_for_all(reference, tmp_path):
    source = write_tables(tmp_path / "raw", "parquet")
    world = make(source, tmp_path / "world", "time", validation_share=0.2, test_share=0.1)
    times, splits = world.events.times, world.event_splits
    assert times[splits == TRAIN].max() < times[splits == VALIDATION].min()
    assert times[splits == VALIDATION].max() < times[splits == TEST].min()
    assert abs((splits == VALIDATION).mean() - 0.2) < 0.05
    assert abs((splits == TEST).mean() - 0.1) < 0.05
    assert world.manifest["hash"] != reference.manifest["hash"]


def test_a_time_split_of_one_moment_is_refused(tmp_path):
    with pytest.raises(BadData, match="time split"):
        make(
            write_events(tmp_path / "raw", [("a", n, 5) for n in range(9)]),
            tmp_path / "world",
            "time",
        )


def test_rejected_rows_are_written_down_and_repeats_never_stop(tmp_path):
    folder = write_events(tmp_path / "raw", [("a", n, n) for n in range(99)] + [("a", 1, "nan")])
    (folder / "items.csv").write_text("item,title\n1,first\n1,second\n1,third\n")
    world = make(folder, tmp_path / "world")
    assert world.items.titles[list(world.items.ids).index("1")] == "first"
    rows = duckdb.sql(
        f'SELECT "table", line, "column", value FROM \'{world.path}/rejected.parquet\''
    ).fetchall()
    assert rows == [
        ("events", 101, "timestamp", "nan"),
        ("items", 3, "item", "1"),
        ("items", 4, "item", "1"),
    ]
    assert world.manifest["counts"]["rejected"] == {
        **dict.fromkeys(["social", "items", "users", "repeated_users"], 0),
        "events": 1,
        "repeated_items": 2,
    }


def test_too_many_bad_rows_stop_with_the_first_of_them(tmp_path):
    folder = write_events(tmp_path / "raw", [("a", n, n) for n in range(50)] + [("a", 1, "nan")])
    with pytest.raises(
        BadData, match=r"events.csv line 52, column timestamp: 'nan' is not finite"
    ) as error:
        make(folder, tmp_path / "world")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*world*"))
    assert make(folder, tmp_path / "world", max_bad_share=0.1).manifest["counts"]["events"] == 50


@pytest.mark.parametrize("rows", [[], [("a", 1, None)]])
def test_events_need_rows_and_times(tmp_path, rows):
    with pytest.raises(BadData, match="events"):
        make(write_events(tmp_path / "raw", rows), tmp_path / "world")


def test_a_failure_half_way_leaves_the_former_world(tmp_path, monkeypatch):
    folder = write_events(tmp_path / "raw", [("a", 1, 1)])
    before = make(folder, tmp_path / "world").manifest["hash"]
    write_events(folder, [("a", 1, 1), ("b", 2, 2)])

    def fail(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(World, "save", fail)
        for out in ("world", "other"):
            with pytest.raises(KeyboardInterrupt):
                make(folder, tmp_path / out)
    assert World.open(tmp_path / "world").manifest["hash"] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "world"]
    assert make(folder, tmp_path / "world").num_users == 2


def test_a_world_is_reused_until_a_source_or_setting_changes(tmp_path):
    folder, out = write_events(tmp_path / "raw", [("a", 1, 1), ("b", 2, 2)]), tmp_path / "world"
    make(folder, out)
    made = (out / "manifest.json").stat().st_ino
    make(folder, out)
    assert (out / "manifest.json").stat().st_ino == made
    write_events(folder, [("a", 1, 1), ("b", 3, 2)])  # the same size
    assert "3" in list(make(folder, out).items.ids)
    make(folder, out, social_direction="in")
    assert json.loads((out / "manifest.json").read_text())["data"]["social_direction"] == "in"


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    folder = write_events(tmp_path / "raw", [("a", 1, 1)])
    with pytest.raises(UsageError):
        make(folder, folder)
    assert (folder / "events.csv").exists()
    with pytest.raises(InputMissing):
        make(tmp_path / "nowhere", tmp_path / "world")


@pytest.mark.parametrize("name", ["beauty_s3rec", "lastfm_s3social"])
def test_leave_one_out_equals_the_published_split(tmp_path, name):
    folder = SHARED / name
    if not folder.exists():
        pytest.skip(f"data set {name} is not here")
    world = make(folder, tmp_path / "world")
    for part, file in ((VALIDATION, "valid"), (TEST, "test")):
        held_out = world.event_splits == part
        users = np.array(list(world.user_ids))[world.events.owners[held_out]]
        items = np.array(list(world.items.ids))[world.events.items[held_out]]
        published = duckdb.sql(
            f"SELECT user::VARCHAR, item::VARCHAR FROM '{folder}/splits/{file}.parquet'"
        ).fetchall()
        assert sorted(zip(users, items, strict=True)) == sorted(published)
