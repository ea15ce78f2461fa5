"""The users of a campaign are those of a dense computation, in any chunks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from socialrec_jax.data.world import BEFORE_TEST, NOW
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.inference import best_users as best_users_module
from socialrec_jax.serving.recommender import Recommender
from tests.inference.test_reranker import ranked_engine
from tests.serving.shops import with_labels

USERS, ITEMS = 60, 80


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = ranked_engine(tmp_path_factory.mktemp("world"))
    return dataclasses.replace(engine, world=with_labels(engine.world))


@pytest.fixture(scope="module", params=["ranker", "retriever"])
def recommender(engine, request) -> Recommender:
    if request.param == "retriever":
        engine = dataclasses.replace(engine, reranker=None)
    return Recommender(engine, BEFORE_TEST)


def dense_probabilities(recommender: Recommender, items: list[int], repeats: bool) -> np.ndarray:
    """[U, A] that the next event of a user is of each type, on one of the items."""
    world = recommender.engine.world
    names = [world.items.ids[item] for item in items]
    pairs = pa.table(
        {"user_id": np.repeat(world.user_ids.tolist(), len(items)), "item_id": names * USERS}
    )
    scored = recommender.score(pairs)
    probabilities = np.stack([scored["p_view"].to_numpy(), scored["p_buy"].to_numpy()], axis=1)
    probabilities = probabilities.reshape(USERS, len(items), 2)
    ends = world.history_ends(BEFORE_TEST)
    for user in range(USERS):
        had = world.events.items[world.events.offsets[user] : ends[user]]
        if not repeats:
            probabilities[user, np.isin(items, had)] = 0
    return np.minimum(probabilities.sum(axis=1), 1)


def check(recommender: Recommender, table: pa.Table, items: list[int], repeats=False) -> None:
    """The rows of one campaign against all users, sorted."""
    dense = dense_probabilities(recommender, items, repeats)
    users = recommender.engine.world.user_ids.lookup(table["user_id"].to_pylist())
    best = -np.sort(-dense.sum(axis=1))[: len(table)]
    np.testing.assert_allclose(np.exp(table["score"]), best, rtol=1e-4)
    np.testing.assert_allclose(dense[users].sum(axis=1), best, rtol=1e-4)
    for number, name in enumerate(("view", "buy")):
        expected = np.cumsum(dense[users, number])
        np.testing.assert_allclose(table[f"expected_{name}"], expected, rtol=1e-4)


@pytest.mark.parametrize("repeats", [False, True], ids=["new", "repeats"])
def test_the_audience_of_items_equals_a_dense_computation(recommender, repeats, monkeypatch):
    monkeypatch.setattr(best_users_module, "_SCORES_AT_ONCE", 200)  # several chunks
    names = recommender.engine.world.items.ids
    table = recommender.audience([names[3], names[40]], k=20, repeats=repeats)
    assert table.column_names[:4] == ["item_id", "rank", "user_id", "score"]
    assert table["rank"].to_pylist() == [*range(1, 21)] * 2
    assert table["item_id"].to_pylist() == [names[3]] * 20 + [names[40]] * 20
    check(recommender, table.slice(0, 20), [3], repeats)
    check(recommender, table.slice(20), [40], repeats)


def test_a_campaign_has_the_sum_of_its_items(recommender):
    names = recommender.engine.world.items.ids
    rows = [("spring", 5), ("summer", 7), ("spring", 30), ("spring", 5)]
    campaigns = pa.table(
        {
            "item_id": [names[item] for _, item in rows],
            "campaign": [campaign for campaign, _ in rows],
        }
    )
    table = recommender.audience(campaigns=campaigns, k=15)
    assert table["item_id"].to_pylist() == ["spring"] * 15 + ["summer"] * 15
    check(recommender, table.slice(0, 15), [5, 30])
    check(recommender, table.slice(15), [7])


@pytest.mark.parametrize(("option", "modulus"), [("categories", 4), ("tags", 3)])
def test_the_items_of_a_label_are_a_campaign(recommender, option, modulus):
    label = {"categories": "category 1", "tags": "tag 1"}[option]
    table = recommender.audience(**{option: [label]}, k=15)
    check(recommender, table, list(range(1, ITEMS, modulus)))


def test_an_audience_does_not_depend_on_the_other_campaigns_and_users(recommender):
    world = recommender.engine.world
    items = world.items.ids[:6]
    together = recommender.audience(items, k=5)
    assert recommender.audience(items[2:3], k=5).equals(together.slice(10, 5))
    some = together["user_id"].to_pylist()[10:13]
    among = recommender.audience(items[2:3], users=some, k=5)
    assert among["user_id"].to_pylist() == some, "k may be larger than the number of users"


def test_mistakes_of_an_audience_are_named(engine):
    recommender = Recommender(engine, NOW)
    with pytest.raises(UsageError, match="give one of --items"):
        recommender.audience()
    with pytest.raises(UsageError, match="give one of --items"):
        recommender.audience(["item1"], tags=["tag 1"])
    with pytest.raises(UsageError, match="at least 1"):
        recommender.audience(["item1"], k=0)
    with pytest.raises(BadData, match="no item has the tag 'tag 9'; did you mean"):
        recommender.audience(tags=["tag 9"])
    with pytest.raises(BadData, match="no column campaign"):
        recommender.audience(campaigns=pa.table({"item_id": ["item1"]}))
    with pytest.raises(BadData, match="item ids"):
        recommender.audience(["nothing"])
