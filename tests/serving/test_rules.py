"""Conditions equal Python's own, and lists a choice item by item."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from socialrec_jax.data.world import BEFORE_TEST, NOW, Items
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.serving.recommender import Recommender
from socialrec_jax.serving.rules.where import parse_where
from tests.inference.test_reranker import ranked_engine
from tests.serving.shops import with_labels

ITEMS = 80


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    """Prices are the numbers of the items; the one of item 9 is not known."""
    engine = ranked_engine(tmp_path_factory.mktemp("world"))
    world = with_labels(engine.world)
    world.items.prices[9] = np.nan
    return Recommender(dataclasses.replace(engine, world=world), NOW)


@pytest.fixture(scope="module")
def items(recommender) -> Items:
    return recommender.engine.world.items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("price < 50", lambda i: i < 50 and i != 9),
        ("price != 3", lambda i: i not in (3, 9)),
        ("price >= 7.5 and PRICE <= 20", lambda i: 7.5 <= i <= 20 and i != 9),
        ("price in (3, 4.0, 9)", lambda i: i in (3, 4)),
        ("price = 3.0 or price = 4", lambda i: i in (3, 4)),
        ("price > -1", lambda i: i != 9),
        ("available", lambda i: i % 7),
        ("not available", lambda i: i % 7 == 0),
        ("category = 'category 1'", lambda i: i % 4 == 1),
        ('category <> "category 1"', lambda i: i % 4 != 1),
        ("category not in ('category 1', 'category 2')", lambda i: i % 4 not in (1, 2)),
        ("tags = 'tag 2'", lambda i: i % 3 == 2),
        ("tags != 'tag 2'", lambda i: i % 3 != 2),
        ("tags in ('tag 2', 'nothing')", lambda i: i % 3 == 2),
        ("tags = 'tag'", lambda i: False),
        ("title contains 'RED'", lambda i: i % 2 == 0),
        ("item = 'item4'", lambda i: i == 4),
        ("title = 'it''s'", lambda i: False),
        ("price < 5 or price < 9 and available", lambda i: i < 5 or (i < 9 and i % 7)),
        ("(price < 5 or price < 20) and available", lambda i: i < 20 and i != 9 and i % 7),
        ("not (price < 5 or price > 70)", lambda i: not (i < 5 or i > 70) or i == 9),
        ("not not available", lambda i: i % 7),
    ],
)
def test_a_condition_equals_pythons_own(items, text, expected):
    np.testing.assert_array_equal(
        parse_where(text)(items), [bool(expected(item)) for item in range(ITEMS)]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found the end at character 1"),
        ("prize < 5", "found 'prize' at character 1; did you mean price[?]"),
        ("price < cheap", "price is compared with a number, found 'cheap' at character 9"),
        ("category = shoes", "category is compared with a text in quotes"),
        ("category < 'a'", "category is no number"),
        ("price", "expected a comparison"),
        ("price < 5 available", "expected `and`, `or` or the end, found 'available'"),
        ("(price < 5", r"expected \), found the end"),
        ("price in ()", "a number, found '\\)'"),
        ("price < 5 and", "found the end"),
        ("price # 5", "found '#' at character 7"),
        ("category = 'open", 'found "\'" at character 12'),
        ("price contains '5'", "contains nothing"),
        ("price < 5x", "found"),
        ("__import__('os')", "found '__import__' at character 1"),
    ],
)
def test_a_mistake_in_a_condition_is_named_with_its_place(text, message):
    with pytest.raises(UsageError, match=message):
        parse_where(text)


def numbers(recommender: Recommender, table) -> np.ndarray:
    return recommender.engine.world.items.ids.lookup(table["item_id"].to_pylist())


def test_conditions_lists_and_availability_hold_together(recommender):
    names = recommender.engine.world.items.ids
    allow, block = [names[item] for item in range(40)], [names[3], names[4]]
    table = recommender.recommend(
        k=40, allow=allow, block=block, where="price < 30 and tags != 'tag 2'", repeats=True
    )
    expected = {i for i in range(30) if i % 7 and i % 3 != 2 and i not in (3, 4, 9)}
    assert set(numbers(recommender, table)) == expected


def test_what_is_not_available_is_left_out_as_of_now(recommender):
    everything = {"k": ITEMS, "repeats": True}
    assert not (numbers(recommender, recommender.recommend(**everything)) % 7 == 0).any()
    table = recommender.recommend(**everything, unavailable=True)
    assert set(numbers(recommender, table)) == set(range(ITEMS))
    earlier = Recommender(recommender.engine, BEFORE_TEST)
    assert set(numbers(earlier, earlier.recommend(**everything))) == set(range(ITEMS))


def test_rules_that_leave_nothing_are_named(recommender, caplog):
    with pytest.raises(BadData, match="--where and availability leave no item"):
        recommender.recommend(where="price > 900")
    world = recommender.engine.world
    user = int(np.argmax(np.diff(world.events.offsets)))
    had = int(world.events.items[world.events.offsets[user + 1] - 1])
    names = [world.user_ids[user], world.user_ids[0]]
    with caplog.at_level(logging.WARNING):
        table = recommender.recommend(names, allow=[world.items.ids[had]], unavailable=True)
    assert set(table["user_id"].to_pylist()) == {names[1]}
    assert f"no item is left to recommend to 1 users: {names[0]}" in caplog.text


def chosen_slowly(
    recommender: Recommender, user: str, k: int, per_category: int, diversity: float
) -> list[int]:
    """The list of a user, item by item, with one cosine after the other."""
    rows = recommender.recommend([user], k=ITEMS).to_pylist()
    items = [int(number) for number in numbers(recommender, recommender.recommend([user], k=ITEMS))]
    scores = [row["score"] for row in rows]
    worst, best = min(scores), max(scores)
    vectors = np.asarray(recommender.engine.catalogue)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen: list[int] = []
    while len(chosen) < k:
        values = {}
        for item, score in zip(items, scores, strict=True):
            same = sum(other % 4 == item % 4 for other in chosen)
            if item not in chosen and same < per_category:
                similarity = max((vectors[item] @ vectors[other] for other in chosen), default=0)
                relevance = (score - worst) / (best - worst)
                values[item] = (1 - diversity) * relevance - diversity * similarity
        if not values:
            break
        chosen.append(max(values, key=lambda item: values[item]))
    return chosen


@pytest.mark.parametrize(("per_category", "diversity"), [(2, 0.0), (99, 0.4), (3, 0.7), (1, 0.2)])
def test_lists_equal_a_choice_item_by_item(recommender, per_category, diversity):
    world = recommender.engine.world
    users = [world.user_ids[user] for user in (0, 7, 25)]
    table = recommender.recommend(users, k=7, per_category=per_category, diversity=diversity)
    for user in users:
        rows = [row for row in table.to_pylist() if row["user_id"] == user]
        found = world.items.ids.lookup([row["item_id"] for row in rows]).tolist()
        assert found == chosen_slowly(recommender, user, 7, per_category, diversity)
        assert [row["rank"] for row in rows] == list(range(1, len(found) + 1))


def test_without_diversity_and_limits_nothing_changes(recommender):
    expected = recommender.recommend(k=7)
    assert recommender.recommend(k=7, diversity=0.0) == expected
    unlimited = recommender.recommend(k=7, per_category=ITEMS)
    assert unlimited["item_id"] == expected["item_id"]
