"""Lists by all rules, alone and together, equal a choice item by item from dense scores."""

from __future__ import annotations

import dataclasses
import functools
import logging

import numpy as np
import pytest

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import BEFORE_TEST, NOW
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.serving.recommender import Recommender
from socialrec_jax.serving.rules.quotas import places_of
from socialrec_jax.serving.tasks import recommend_lists
from socialrec_jax.serving.tasks.recommend_options import RecommendOptions
from socialrec_jax.serving.tasks.rule_costs import active_rules, ndcg_of
from tests.inference.test_reranker import WITHOUT_HISTORY, ranked_engine
from tests.serving.rules_slowly import SlowRules, age_in_days, dense_scores, list_slowly
from tests.serving.shops import with_labels

K = 7
USERS = [0, 7, 13, 25, 26]  # the first one has no history
REGIONS = ["category 1", "category 2", ""]


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    """The region of a user is the name of a category."""
    engine = ranked_engine(tmp_path_factory.mktemp("world"))
    world = with_labels(engine.world)
    regions = Strings.of([REGIONS[user % 3] for user in range(world.num_users)])
    world = dataclasses.replace(world, attributes={"region": regions})
    return Recommender(dataclasses.replace(engine, world=world), NOW)


@pytest.fixture(scope="module")
def scores(recommender) -> np.ndarray:
    return dense_scores(recommender, USERS)


def is_of_region(user: int, item: int) -> bool:
    return REGIONS[user % 3] == f"category {item % 4}"


def is_of_other_region(user: int, item: int) -> bool:
    return bool(REGIONS[user % 3]) and not is_of_region(user, item)


PROMOTED = {"promote": "tags = 'tag 2'", "promote_share": 0.5}
NEW = {"new_items": 0.3, "new_items_days": 0.2}
REPEATED = {"repeats_half_life": 0.1}
BOOSTED = {"boost_popularity": 2.0, "boost_freshness": 300.0}
RULES = {
    "match": SlowRules({"where": "category = user.region"}, is_of_region),
    "no match": SlowRules({"where": "category != user.region"}, is_of_other_region),
    "promotion": SlowRules(PROMOTED, is_promoted=lambda item: item % 3 == 2),
    "promotion, default share": SlowRules(
        {"promote": "price < 5"}, is_promoted=lambda item: item < 5
    ),
    "new items": SlowRules(NEW),
    "popularity": SlowRules({"boost_popularity": 3.0}),
    "freshness": SlowRules({"boost_freshness": 300.0}),
    "repeats": SlowRules(REPEATED),
    "promotion with limits": SlowRules(
        PROMOTED | {"per_category": 2, "diversity": 0.5}, is_promoted=lambda item: item % 3 == 2
    ),
    "all": SlowRules(
        {"where": "category != user.region and price < 70", "per_category": 3, "diversity": 0.3}
        | (PROMOTED | NEW | REPEATED | BOOSTED),
        lambda user, item: is_of_other_region(user, item) and item < 70,
        lambda item: item % 3 == 2,
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_lists_equal_a_choice_item_by_item(recommender, scores, name):
    world, rules = recommender.engine.world, RULES[name]
    table = recommender.recommend(k=K, reasons="off", **rules.options)
    names, items = table["user_id"].to_pylist(), table["item_id"].to_pylist()
    for user, of_user in zip(USERS, scores, strict=True):
        pairs = zip(names, items, strict=True)
        listed = [item for name, item in pairs if name == world.user_ids[user]]
        expected = list_slowly(recommender, rules, user, of_user, K)
        assert world.items.ids.lookup(listed).tolist() == expected


@pytest.mark.parametrize("options", [{}, {"where": "price < 40"}, {"repeats": True}])
def test_a_recommendation_has_the_score_of_its_pair(recommender, options):
    pairs = recommender.recommend(k=K, reasons="off", **options)
    scored = recommender.score(pairs.select(["user_id", "item_id"]))
    for column in ("score", "p_view", "p_buy"):
        np.testing.assert_allclose(pairs[column], scored[column], rtol=1e-6, atol=1e-6)


def test_users_come_in_their_order_and_those_without_any_item_are_named(recommender, caplog):
    user_ids = recommender.engine.world.user_ids
    names = [user_ids[user] for user in (8, 1, 3, 7)]
    with caplog.at_level(logging.WARNING):
        table = recommender.recommend(names, k=3, where="category = user.region")
    expected = [name for name in names if name != user_ids[8]]
    assert table["user_id"].to_pylist() == np.repeat(expected, 3).tolist()
    assert f"no item is left to recommend to 1 users: {user_ids[8]}" in caplog.text


# With as many candidates as places, all members are searched apart.
@pytest.mark.parametrize("most_candidates", [80, 10])
def test_quotas_are_filled_with_the_best_members_at_the_end(
    recommender, monkeypatch, most_candidates
):
    few = functools.partial(_few_candidates, most_candidates)
    monkeypatch.setattr(recommend_lists, "num_candidates", few)
    user_ids, options = [recommender.engine.world.user_ids[7]], {"k": 10, "reasons": "off"}
    plain = recommender.recommend(user_ids, **options)["item_id"].to_pylist()
    condition = "item not in ({})".format(", ".join(f"'{item}'" for item in plain))
    table = recommender.recommend(user_ids, promote=condition, promote_share=0.3, **options)
    assert table["item_id"].to_pylist()[:7] == plain[:7]
    members = recommender.recommend(user_ids, where=condition, k=3, reasons="off")
    assert table["item_id"].to_pylist()[7:] == members["item_id"].to_pylist()


def _few_candidates(most: int, k: int, num_items: int) -> int:
    return min(most, num_items)


def test_a_share_is_at_least_one_place():
    assert [places_of(share, 10) for share in (0.01, 0.2, 0.21, 1.0)] == [1, 2, 3, 10]


def test_what_repeats_comes_back_later(recommender):
    users = np.setdiff1d(np.arange(60), WITHOUT_HISTORY)
    names = [recommender.engine.world.user_ids[user] for user in users]

    def lists(**options) -> list[str]:
        table = recommender.recommend(names, k=80, unavailable=True, reasons="off", **options)
        return table["item_id"].to_pylist()

    assert lists(repeats_half_life=1e-6) == lists(repeats=True)
    events = recommender.engine.world.events
    of_users = np.array(lists(repeats_half_life=1e9)).reshape(len(users), 80)
    for user, listed in zip(users, of_users, strict=True):
        had = events.items[events.offsets[user] : events.offsets[user + 1]]
        assert set(listed[-len(had) :]) == {f"item{item}" for item in had}


def test_the_page_knows_what_each_rule_costs(recommender):
    options = RecommendOptions(k=5, reasons="off", **(PROMOTED | NEW | REPEATED | BOOSTED))
    rules = active_rules(recommender.engine, BEFORE_TEST, options)
    assert list(rules) == [
        "--promote tags = 'tag 2'",
        "--boost-popularity 2.0",
        "--boost-freshness 300.0",
        "--new-items 0.3",
        "--repeats-half-life 0.1",
    ]
    costs = ndcg_of(lambda: Recommender(recommender.engine, BEFORE_TEST), options, rules)
    assert set(costs) == set(rules)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"where": "tags = user.regoin"}, UsageError, "did you mean region"),
        ({"promote": "price < 0"}, BadData, "no item satisfies it"),
        ({"promote": "tags = user.region"}, UsageError, "without attributes of users"),
        ({"promote": "prize < 5"}, UsageError, "--promote 'prize < 5'"),
        ({"promote": "price < 5", "promote_share": 0.0}, UsageError, "above 0, at most 1"),
        ({"promote_share": 0.5}, UsageError, "goes with --promote"),
        ({"new_items": 1.5}, UsageError, "--new-items 1.5"),
        ({"new_items_days": 3.0}, UsageError, "goes with --new-items"),
        ({"new_items": 0.5, "new_items_days": -1.0}, UsageError, "0 or more"),
        (PROMOTED | {"new_items": 0.6}, UsageError, "more than all places"),
        ({"boost_popularity": -1.0}, UsageError, "--boost-popularity -1.0"),
        ({"boost_freshness": float("nan")}, UsageError, "--boost-freshness nan"),
        ({"repeats_half_life": 0.0}, UsageError, "days above 0"),
        (BOOSTED | {"placement": "new"}, UsageError, "--placement goes without"),
        ({"where": "tags = user.region", "histories": "x.csv"}, UsageError, "--histories"),
    ],
)
def test_a_rule_that_cannot_be_right_is_named(recommender, options, error, message):
    with pytest.raises(error, match=message):
        recommender.recommend(**options)


def test_new_items_have_their_first_event_within_the_days(recommender):
    world = recommender.engine.world
    table = recommender.recommend(k=10, new_items=1.0, new_items_days=0.2, reasons="off")
    new = {n for n in range(world.num_items) if age_in_days(world, n) <= 0.2}
    for user in USERS:
        rows = [row for row in table.to_pylist() if row["user_id"] == world.user_ids[user]]
        listed = world.items.ids.lookup([row["item_id"] for row in rows]).tolist()
        begin, end = world.events.offsets[user : user + 2]
        possible = new - set(world.events.items[begin:end].tolist())
        possible = {item for item in possible if world.items.available[item]}
        assert len(set(listed) & possible) == min(10, len(possible))
