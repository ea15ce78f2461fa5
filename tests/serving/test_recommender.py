"""Ids of any kind go in, tables with the promised columns come out, and mistakes are one line."""

from __future__ import annotations

import dataclasses
import datetime
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.world import BEFORE_TEST, NOW
from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.serving.as_of_option import parse_as_of, warn_of_no_events
from socialrec_jax.serving.recommender import Recommender
from socialrec_jax.serving.tasks.recommend_reasons import REASONS
from tests.inference.test_engine import untrained_engine

COLUMNS = {
    "user_id": pa.string(),
    "rank": pa.int32(),
    "item_id": pa.string(),
    "score": pa.float32(),
    "p_view": pa.float32(),
    "p_buy": pa.float32(),
    "source": pa.string(),
    "reasons": REASONS,
    "explanation": pa.string(),
}


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    _, engine, _ = untrained_engine(tmp_path_factory.mktemp("world"))
    return Recommender(engine, NOW)


def users_of(recommender: Recommender, *numbers: int) -> list[str]:
    return [recommender.engine.world.user_ids[number] for number in numbers]


def test_the_package_is_imported_without_jax():
    program = "import sys, socialrec_jax; assert not {'jax', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_face_is_an_attribute_of_the_package():
    import socialrec_jax

    assert socialrec_jax.Recommender is Recommender
    with pytest.raises(AttributeError):
        _ = socialrec_jax.Recomender


def test_a_table_has_the_columns_of_the_contract(recommender):
    table = recommender.recommend(k=5)
    assert {field.name: field.type for field in table.schema} == COLUMNS
    world = recommender.engine.world
    assert table["rank"].to_pylist() == [1, 2, 3, 4, 5] * world.num_users
    assert table["user_id"].to_pylist()[::5] == world.user_ids.tolist()
    assert table.slice(0, 0).schema == recommender.recommend([]).schema


def test_a_table_has_the_names_of_what_the_engine_recommends(recommender):
    world, engine = recommender.engine.world, recommender.engine
    table = recommender.recommend(k=4)
    (part,) = engine.recommend(engine.query(np.arange(world.num_users)), k=4)
    items = world.items.ids.lookup(table["item_id"].to_pylist())
    np.testing.assert_array_equal(items.reshape(-1, 4), part.items)
    np.testing.assert_array_equal(np.asarray(table["score"]).reshape(-1, 4), part.scores)
    buy = np.asarray(table["p_buy"]).reshape(-1, 4)
    np.testing.assert_array_equal(buy, part.type_probabilities[..., 1])


@pytest.mark.parametrize(
    "kind", [list, tuple, iter, np.array, pa.array, lambda ids: pa.chunked_array([ids])]
)
def test_ids_may_be_of_any_kind(recommender, kind):
    ids = users_of(recommender, 7, 3, 7)
    table = recommender.recommend(kind(ids), k=2)
    assert table["user_id"].to_pylist()[::2] == ids
    alone = recommender.recommend(ids[1:2], k=2)
    assert table.slice(2, 2)["item_id"].to_pylist() == alone["item_id"].to_pylist()


def test_ids_may_lie_in_a_file(recommender, tmp_path):
    ids = users_of(recommender, 5, 2)
    (tmp_path / "users.txt").write_text("\n".join(ids))
    table = recommender.recommend(tmp_path / "users.txt", k=1)
    assert table["user_id"].to_pylist() == ids


def test_integers_are_ids_as_their_digits(recommender):
    strings = type(recommender.engine.world.user_ids)
    world = dataclasses.replace(
        recommender.engine.world, user_ids=strings.of([str(100 + n) for n in range(60)])
    )
    numbered = Recommender(dataclasses.replace(recommender.engine, world=world), NOW)
    table = numbered.recommend(np.array([103, 101]), k=1)
    assert table["user_id"].to_pylist() == ["103", "101"]


def test_unknown_ids_are_counted_and_the_first_is_named(recommender):
    (known,) = users_of(recommender, 0)
    with pytest.raises(BadData, match=r"2 of 3 user ids are unknown to this run, first 'nobody'"):
        recommender.recommend([known, "nobody", "none"])
    with pytest.raises(BadData, match="1 of 1 item ids"):
        recommender.recommend(allow=["nothing"])
    with pytest.raises(UsageError, match="give a list"):
        recommender.recommend(known)


def test_allowed_and_blocked_items(recommender):
    ids = recommender.engine.world.items.ids.tolist()[:6]
    table = recommender.recommend(k=40, allow=ids, block=ids[:2], repeats=True)
    assert set(table["item_id"].to_pylist()) == set(ids[2:])
    with pytest.raises(BadData, match="leave no item"):
        recommender.recommend(allow=ids[:1], block=ids)


def test_deleted_users_and_items_are_left_out(recommender):
    world = recommender.engine.world
    user_ids = world.user_ids.replaced(np.array([3]), [""])
    item_ids = world.items.ids.replaced(np.array([5]), [""])
    items = dataclasses.replace(world.items, ids=item_ids)
    world = dataclasses.replace(world, user_ids=user_ids, items=items)
    smaller = Recommender(dataclasses.replace(recommender.engine, world=world), NOW)
    table = smaller.recommend(k=40, repeats=True)
    assert table["user_id"].to_pylist()[::39] == [name for name in user_ids.tolist() if name]
    assert set(table["item_id"].to_pylist()) == set(item_ids.tolist()) - {""}
    with pytest.raises(BadData, match="unknown"):
        smaller.recommend([""])


def history_table(recommender: Recommender, *users: int) -> pa.Table:
    """The events of some users, newest first, under other names."""
    world = recommender.engine.world
    rows = np.flatnonzero(np.isin(world.events.owners, users))[::-1]
    names = [f"new {user}" for user in world.events.owners[rows].tolist()]
    types = [world.event_types[number] for number in world.events.types[rows].tolist()]
    return pa.table(
        {
            "user": names,
            "item": [world.items.ids[item] for item in world.events.items[rows].tolist()],
            "timestamp": world.events.times[rows],
            "event_type": types,
        }
    )


def test_histories_of_unknown_users_come_as_a_table(recommender, tmp_path):
    table = history_table(recommender, 4, 9)
    result = recommender.recommend(histories=table, k=3)
    known = recommender.recommend(users_of(recommender, 9, 4), k=3)
    assert result["user_id"].to_pylist()[::3] == ["new 9", "new 4"], "in order of appearance"
    assert result["item_id"].to_pylist() == known["item_id"].to_pylist()
    pq.write_table(table, tmp_path / "events.parquet")
    assert recommender.recommend(histories=tmp_path / "events.parquet", k=3) == result


def test_histories_may_have_times_of_arrow(recommender):
    table = history_table(recommender, 4)
    times = table["timestamp"].cast(pa.timestamp("s", "UTC"))
    stamped = table.set_column(2, "timestamp", times)
    expected = recommender.recommend(histories=table, k=3)
    assert recommender.recommend(histories=stamped, k=3) == expected


def test_histories_bring_their_own_users(recommender):
    table = history_table(recommender, 4)
    with pytest.raises(UsageError, match="--histories"):
        recommender.recommend(["u"], histories=table)
    with pytest.raises(UsageError, match="--histories"):
        Recommender(recommender.engine, BEFORE_TEST).recommend(histories=table)
    with pytest.raises(UsageError, match="no data frame"):
        recommender.recommend(histories=7)
    with pytest.raises(BadData, match="item"):
        recommender.recommend(histories=table.drop_columns("item"))


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("now", NOW),
        ("test", BEFORE_TEST),
        (BEFORE_TEST, BEFORE_TEST),
        ("1700000000", AsOf.time(1_700_000_000)),
        (-5, AsOf.time(-5)),
        ("2024-05-01", AsOf.time(1_714_521_600)),
        ("2024-05-01T02:00+02:00", AsOf.time(1_714_521_600)),
        (datetime.datetime(2024, 5, 1), AsOf.time(1_714_521_600)),
        (datetime.date(2024, 5, 1), AsOf.time(1_714_521_600)),
    ],
)
def test_a_time_can_be_given_in_several_ways(time, expected):
    assert parse_as_of(time) == expected


@pytest.mark.parametrize("time", ["someday", None, 1.5])
def test_a_time_that_cannot_be_read_is_named(time):
    with pytest.raises(UsageError, match=f"--as-of {time}: give now"):
        parse_as_of(time)


@pytest.mark.parametrize(("seconds", "is_named"), [(-1, True), (0, True), (1, False)])
def test_a_time_before_all_events_is_named(recommender, caplog, seconds, is_named):
    world = recommender.engine.world
    warn_of_no_events(world, AsOf.time(world.first_time + seconds))
    assert ("nothing is known then" in caplog.text) == is_named
    warn_of_no_events(world, NOW)
    assert len(caplog.records) == is_named


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(InputMissing):
        Recommender.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("recommend", {"k": "3"}, "--k '3': give a whole number"),
        ("recommend", {"per_category": 1.5}, "--per-category 1.5: give a whole number"),
        ("recommend", {"diversity": None}, "--diversity None: give a number"),
        ("recommend", {"repeats": "no"}, "--repeats 'no': give True or False"),
        ("recommend", {"where": 5}, "--where 5: give a text"),
        ("recommend", {"placement": "x"}, "--placement x: choose one of basket"),
        ("recommend", {"language": "x"}, "--language x: choose one of en, zh"),
        ("recommend", {"privacy": {"min_friends": 3}}, "give PrivacyOptions"),
        ("profile", {"top": 1.5}, "--top 1.5: give a whole number"),
        ("similar", {"by": "sound"}, "--by sound: choose one of vectors"),
        ("search", {"queries": ["a"], "by": "sound"}, "--by sound: choose one of both"),
        ("search", {"queries": [None]}, "queries: None is no text"),
        ("encode", {"texts": "red"}, "'red' is one text"),
        ("audience", {"categories": "red"}, "--categories 'red' is one text"),
        ("audience", {"tags": ["red"], "k": 1.5}, "--k 1.5: give a whole number"),
        ("demand", {"by": ()}, "--by: give at least one"),
        ("demand", {"by": ("item", "item")}, "--by: item is given twice"),
        ("demand", {"days": (7, 7)}, "--days: 7 is given twice"),
        ("demand", {"days": 1.5}, "--days 1.5: give whole numbers"),
    ],
)
def test_options_of_other_types_are_named(recommender, task, arguments, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        getattr(recommender, task)(**arguments)


def test_numbers_of_numpy_are_numbers(recommender):
    users = users_of(recommender, 0, 1)
    expected = recommender.recommend(users, k=2, diversity=0.5)
    numbers = {"k": np.int64(2), "diversity": np.float32(0.5), "repeats": np.bool_(False)}
    assert recommender.recommend(users, **numbers) == expected


def test_nobody_to_choose_among_is_an_empty_table(recommender):
    item = recommender.engine.world.items.ids[0]
    assert recommender.audience([item], users=[]).num_rows == 0


def test_a_recommender_prints_in_one_line(recommender):
    world = recommender.engine.world
    assert f"{world.num_users:,} users, {world.num_items:,} items" in repr(recommender)
    assert len(repr(recommender)) < 1000
