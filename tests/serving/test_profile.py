"""Portraits equal what a loop over the user's events and friends gives."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from socialrec_jax.data.world import BEFORE_TEST, NOW
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.serving import writer
from socialrec_jax.serving.recommender import Recommender
from tests.inference.test_reranker import WITHOUT_HISTORY, ranked_engine
from tests.serving.shops import with_labels

USERS = 60


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    engine = ranked_engine(tmp_path_factory.mktemp("world"))
    engine = dataclasses.replace(engine, world=with_labels(engine.world))
    return Recommender(engine, BEFORE_TEST)


@pytest.fixture(scope="module")
def table(recommender) -> pa.Table:
    return recommender.profile()


def history(recommender: Recommender, user: int) -> list[int]:
    world = recommender.engine.world
    end = world.history_ends(BEFORE_TEST)[user]
    return world.events.items[world.events.offsets[user] : end].tolist()


def shares(items: list[int], labels_of) -> dict[str, float]:
    """The weighted share of events with each label, the largest first."""
    sums: dict[str, float] = {}
    weights = [0.5 ** (age / 20) for age in range(len(items))]
    for item, weight in zip(reversed(items), weights, strict=True):
        for label in labels_of(item):
            sums[label] = sums.get(label, 0) + weight / sum(weights)
    return dict(sorted(sums.items(), key=lambda entry: (-entry[1], entry[0])))


@pytest.mark.parametrize(
    ("column", "labels_of"),
    [
        ("top_tags", lambda item: (f"tag {item % 3}", "all")),
        ("top_categories", lambda item: (f"category {item % 4}",)),
    ],
)
def test_interests_are_shares_of_the_history(recommender, table, column, labels_of):
    for user, interests in enumerate(table[column].to_pylist()):
        expected = shares(history(recommender, user), labels_of)
        assert [interest["name"] for interest in interests] == list(expected)
        values = [interest["share"] for interest in interests]
        np.testing.assert_allclose(values, list(expected.values()), rtol=1e-5)


def test_vectors_and_probabilities_are_the_models(recommender, table):
    engine = recommender.engine
    query = engine.query(np.arange(USERS), BEFORE_TEST)
    states = engine.states(query)
    np.testing.assert_allclose(np.array(table["vector"].to_pylist()), states, atol=1e-6)
    actions = engine.next_actions(states, query)
    for number, name in enumerate(("view", "buy")):
        np.testing.assert_allclose(table[f"p_{name}"], actions[:, number], atol=1e-6)


def test_friends_are_those_with_the_most_similar_items(recommender, table):
    world = recommender.engine.world
    times = world.query_times(BEFORE_TEST)
    ends = world.history_ends(BEFORE_TEST)
    some = 0
    for user, friends in enumerate(table["friends"].to_pylist()):
        own = set(history(recommender, user))
        expected = []
        for edge in range(*world.friends.offsets[user : user + 2]):
            friend, weight = world.friends.ids[edge], world.friends.weights[edge]
            start, end = world.events.offsets[friend], ends[friend]
            before = world.events.times[start:end] < times[user]
            had = set(world.events.items[start:end][before].tolist())
            cosine = len(own & had) / np.sqrt(max(len(own) * len(had), 1))
            row = (-weight * cosine, -weight, world.user_ids[friend], len(own & had), cosine)
            expected.append(row)
        expected = sorted(expected)[:5]
        assert [friend["user_id"] for friend in friends] == [row[2] for row in expected]
        assert [friend["shared_items"] for friend in friends] == [row[3] for row in expected]
        found = [friend["similarity"] for friend in friends]
        np.testing.assert_allclose(found, [row[4] for row in expected], rtol=1e-5)
        some += sum(row[3] for row in expected)
    assert some, "some friends share items"


def test_the_last_event_is_the_newest_visible_one(recommender, table):
    world = recommender.engine.world
    for user, event in enumerate(table["last_event"].to_pylist()):
        if user in WITHOUT_HISTORY:
            assert event is None
            continue
        row = world.history_ends(BEFORE_TEST)[user] - 1
        assert event == {
            "item_id": world.items.ids[world.events.items[row]],
            "event_type": world.event_types[world.events.types[row]],
            "timestamp": world.events.times[row],
        }


def test_a_portrait_does_not_depend_on_the_other_users(recommender, table):
    names = recommender.engine.world.user_ids
    alone = recommender.profile([names[7], names[0]])
    assert alone.drop_columns("vector").to_pylist() == [
        table.drop_columns("vector").to_pylist()[user] for user in (7, 0)
    ]


def test_portraits_of_new_users_and_lines_of_json(recommender, tmp_path):
    histories = pa.table({"user": ["new"], "item": ["item5"], "timestamp": [7]})
    now = Recommender(recommender.engine, NOW)
    table = now.profile(histories=histories, top=1)
    file = tmp_path / "profiles.jsonl"
    writer.write_tables(file, [table])
    (line,) = map(json.loads, file.read_text().splitlines())
    assert line["top_categories"] == [{"name": "category 1", "share": 1.0}]
    assert len(line["top_tags"]) == 1
    assert line["friends"] == []
    assert line["last_event"] == {"item_id": "item5", "event_type": "view", "timestamp": 7}
    np.testing.assert_array_equal(np.float32(line["vector"]), table["vector"][0].as_py())


def test_mistakes_of_a_profile_are_named(recommender):
    with pytest.raises(UsageError, match="at least 1"):
        recommender.profile(top=0)
    with pytest.raises(BadData, match="user ids"):
        recommender.profile(["nobody"])
