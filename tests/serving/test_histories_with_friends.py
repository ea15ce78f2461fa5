"""New users who bring friendships are answered as in a World that they were appended to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from socialrec_jax.data.batching.friend_sampler import FAN_OUT
from socialrec_jax.data.history_variants import without_items
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import NOW, World
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.serving.frames import read_histories
from socialrec_jax.serving.http.batcher import BatchSettings
from socialrec_jax.serving.people import people_of, query_of
from socialrec_jax.serving.reason_options import PrivacyOptions
from socialrec_jax.serving.recommender import Recommender
from tests.inference.test_reranker import CONFIG, MODEL, ranked_engine
from tests.serving.growing_shop import (
    FRIEND_ALONE,
    KNOWN,
    NEW_IDS,
    USERS,
    before_and_after,
    events_table,
    friends_table,
)
from tests.serving.http.test_service import assert_equals, post

WITH_EVENTS = [user for user in range(KNOWN, USERS) if user != FRIEND_ALONE]
ALL_FRIENDS = PrivacyOptions(min_friends=1, friend_ids=True)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> tuple[Recommender, Recommender]:
    """(before, after) six people came."""
    # That of other tests, so that its programs are in the cache.
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, social_queries=2))
    before, after = before_and_after(ranked_engine(tmp_path_factory.mktemp("world"), config))
    return Recommender(before, NOW), Recommender(after, NOW)


def tables(world: World) -> dict[str, pa.Table]:
    return {"histories": events_table(world, WITH_EVENTS), "friends": friends_table(world)}


def assert_close(found, expected) -> None:
    """Equal rows, lists and structs, numbers to 1e-5."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    else:
        assert found == expected


def by_user(table: pa.Table) -> list[dict]:
    return sorted(table.to_pylist(), key=lambda row: (row["user_id"], row.get("rank", 0)))


def test_lists_and_reasons_are_those_of_an_appended_world(shop):
    before, after = shop
    options = {"k": 4, "privacy": ALL_FRIENDS}
    found = before.recommend(**tables(after.engine.world), **options)
    expected = after.recommend(after.engine.world.user_ids[WITH_EVENTS], **options)
    assert_close(by_user(found), by_user(expected))
    named = {why["kind"] for row in found["reasons"].to_pylist() for why in row}
    assert "friends" in named
    without = before.recommend(histories=tables(after.engine.world)["histories"], k=4)
    assert by_user(without) != by_user(found), "friends change the answers"


def test_portraits_and_scores_are_those_of_an_appended_world(shop, tmp_path):
    before, after = shop
    world, names = after.engine.world, after.engine.world.user_ids[WITH_EVENTS]
    # As a folder, with the table of friends beside that of events.
    for name, table in zip(("events", "social"), tables(world).values(), strict=True):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = before.profile(histories=tmp_path, top=60)
    assert_close(by_user(found), by_user(after.profile(names, top=60)))
    friends = {friend["user_id"] for row in found["friends"].to_pylist() for friend in row}
    assert {*NEW_IDS} & friends, "new users are friends, too"

    items = world.items.ids[:5]
    pairs = pa.table({"user_id": names, "item_id": items})
    scored = before.score(pairs, histories=tmp_path)
    assert_close(scored.to_pylist(), after.score(pairs).to_pylist())
    for name in (NEW_IDS[FRIEND_ALONE - KNOWN], world.user_ids[3]):
        with pytest.raises(BadData, match="user ids are unknown"):
            before.score(pa.table({"user_id": [name], "item_id": items[:1]}), histories=tmp_path)


def test_trees_are_those_of_an_appended_world(shop):
    """Also where an item is left out of the history, which measures exact reasons."""
    before, after = shop
    raw = read_histories(*tables(after.engine.world).values(), before.engine.world)
    people = people_of(raw, before.engine.world)
    query, new_ids = query_of(before.engine, people)
    assert new_ids.tolist() == NEW_IDS
    users = after.engine.world.user_ids.lookup(people.ids.take(query.users))
    expected = after.engine.query(users)
    np.testing.assert_array_equal(query.query_times, expected.query_times)
    assert_same_trees(query, expected, users)
    most_friends = after.engine.friend_sampler.known_friends(users, expected.query_times)[1].max()
    assert most_friends > FAN_OUT[0], "some friends are drawn"

    rows = np.array([0, 2, 2])
    items = people.events.items[people.events.offsets[query.users[rows]] + [0, 0, 1]]
    variants = without_items(query, rows, items), without_items(expected, rows, items)
    assert_same_trees(*variants, users[rows])


def assert_same_trees(query: Query, expected: Query, users: np.ndarray) -> None:
    """users: their numbers after they came, who have no embedding before."""
    trees = query.friend_sampler.sample(query.users, query.query_times)
    of_after = expected.friend_sampler.sample(expected.users, expected.query_times)
    np.testing.assert_array_equal(of_after.users[:, 0], users)
    np.testing.assert_array_equal(trees.users, np.where(of_after.users < KNOWN, of_after.users, -1))
    for name in ("items", "ages", "exists"):
        np.testing.assert_array_equal(getattr(trees, name), getattr(of_after, name))
    np.testing.assert_allclose(trees.edges, of_after.edges, rtol=1e-6)


def test_the_service_answers_users_with_friends_alone(shop):
    before, after = shop
    world = after.engine.world
    table, friends = (table.to_pylist() for table in tables(world).values())
    known = sorted({row["src"] for row in friends} - {*NEW_IDS})
    users = [*world.user_ids[WITH_EVENTS], *known]
    names = {"user": "user_id", "item": "item_id", "src": "user_id", "dst": "friend_id"}
    body = {
        "users": users,
        "events": [{names.get(name, name): row[name] for name in row} for row in table],
        "friends": [{names.get(name, name): row[name] for name in row} for row in friends],
    }
    (status, content), without = post(
        before,
        ("recommend", body | {"k": 5}),
        ("recommend", {"users": known, "k": 5}),
        batches=BatchSettings(join_seconds=0.2),
    )
    assert status == 200, content
    expected = after.recommend(users, k=5)
    shown = pa.Table.from_pylist(content["rows"], expected.schema)
    assert_close(by_user(shown), by_user(expected))
    assert_equals(before.recommend(known, k=5), without)


def test_new_users_may_have_friends_alone(shop):
    before, after = shop
    world = before.engine.world
    friends = pa.table({"src": ["lone"] * 3, "dst": world.user_ids[1:4]})
    histories = tables(after.engine.world)["histories"]
    table = before.recommend(histories=histories, friends=friends, placement="friends", k=5)
    listed = [row["item_id"] for row in table.to_pylist() if row["user_id"] == "lone"]
    friends_had = world.events.items[world.events.offsets[1] : world.events.offsets[4]]
    assert len(listed) == 5
    assert {*listed} <= {*world.items.ids[friends_had]}
    body = {"users": ["lone"], "friends": [{"user_id": "lone", "friend_id": "nobody"}]}
    ((status, content),) = post(before, ("profile", body))
    assert (status, [f["user_id"] for f in content["rows"][0]["friends"]]) == (200, ["nobody"])


def test_mistakes_of_friends_are_named(shop):
    before, after = shop
    with pytest.raises(UsageError, match="friends go with histories"):
        before.recommend(friends=tables(after.engine.world)["friends"])
    with pytest.raises(UsageError, match="friends are no data frame"):
        before.recommend(histories=tables(after.engine.world)["histories"], friends=7)
    body = {"users": ["u"], "friends": [{"user_id": "v", "friend_id": "u"}]}
    ((status, content),) = post(before, ("profile", body))
    assert (status, content["error"]) == (422, "friends: 'v' is none of the users of the request")
