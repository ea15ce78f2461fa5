"""Each placement equals a loop over users and items, and keeps the rules."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from socialrec_jax.data.csr import offsets_of
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.world import BEFORE_TEST, NOW, Events, World
from socialrec_jax.errors import BadData, UsageError
from socialrec_jax.serving.buy_again import Rhythms
from socialrec_jax.serving.recommender import Recommender
from tests.inference.test_reranker import ranked_engine
from tests.serving.shops import with_labels
from tests.worlds import events_of, world_of

ITEMS = 80
DAY = 86400


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    """Without a ranker, so that co-occurrence is counted as of the query's time."""
    engine = ranked_engine(tmp_path_factory.mktemp("world"))
    world = with_labels(engine.world)
    return Recommender(dataclasses.replace(engine, world=world, reranker=None), BEFORE_TEST)


def by_user(recommender: Recommender, table: pa.Table) -> list[list[int]]:
    """The items of each user, in order."""
    world = recommender.engine.world
    users = world.user_ids.lookup(table["user_id"].to_pylist())
    items = world.items.ids.lookup(table["item_id"].to_pylist()).tolist()
    lists: list[list[int]] = [[] for _ in range(world.num_users)]
    for user, item in zip(users, items, strict=True):
        lists[user].append(item)
    return lists


def histories(world: World) -> list[list[int]]:
    ends = world.history_ends(BEFORE_TEST)
    return [
        world.events.items[start:end].tolist()
        for start, end in zip(world.events.starts, ends, strict=True)
    ]


def best(scores: np.ndarray, had: list[int], k: int) -> np.ndarray:
    """The k largest positive scores of items that the user did not have."""
    scores = scores.copy()
    scores[had] = 0
    largest = -np.sort(-scores)[:k]
    return largest[largest > 0]


def test_trending_items_are_the_recently_popular_ones(recommender):
    world = recommender.engine.world
    popularity = recent_popularity(world.events, world.history_ends(BEFORE_TEST), ITEMS)
    table = recommender.recommend(k=6, placement="trending")
    for items, had in zip(by_user(recommender, table), histories(world), strict=True):
        expected = best(np.exp(popularity), had, 6)
        np.testing.assert_allclose(np.exp(popularity[items]), expected, rtol=1e-5)
        assert not set(items) & set(had)
    assert set(table["source"].to_pylist()) == {"trending"}


def test_a_basket_has_what_occurs_together_with_the_last_day(recommender):
    world = recommender.engine.world
    ends = world.history_ends(BEFORE_TEST)
    similarity = ItemKNN.fit(world.events, ends, ITEMS, ItemKNNSettings()).similarity.toarray()
    table = recommender.recommend(k=6, placement="basket")
    for user, items in enumerate(by_user(recommender, table)):
        had = histories(world)[user]
        times = world.events.times[world.events.offsets[user] : ends[user]]
        basket = {item for item, time in zip(had, times, strict=True) if time > times[-1] - DAY}
        scores = similarity[sorted(basket)].sum(axis=0)
        np.testing.assert_allclose(scores[items], best(scores, had, 6), rtol=1e-5)
    assert table.num_rows


def test_friends_placement_has_what_friends_had_newest_first(recommender):
    world = recommender.engine.world
    times, ends = world.query_times(BEFORE_TEST), world.history_ends(BEFORE_TEST)
    table = recommender.recommend(k=6, placement="friends")
    for user, items in enumerate(by_user(recommender, table)):
        scores = np.zeros(ITEMS)
        for edge in range(*world.friends.offsets[user : user + 2]):
            friend = world.friends.ids[edge]
            rows = np.arange(world.events.offsets[friend], ends[friend])
            rows = rows[world.events.times[rows] < times[user]]
            for age, row in enumerate(rows[::-1]):
                item = world.events.items[row]
                scores[item] += world.friends.weights[edge] / (1 + age / 10)
        expected = best(scores, histories(world)[user], 6)
        np.testing.assert_allclose(scores[items], expected, rtol=1e-5)
    assert table.num_rows


def test_new_arrivals_come_in_the_models_order(recommender):
    events = recommender.engine.world.events
    # All but ten items have an event long ago.
    old = events_of([list(range(10, ITEMS))], first_time=int(events.times.min()) - 90 * DAY)
    joined = Events(
        np.append(events.offsets, events.offsets[-1] + len(old.items)),
        *(
            np.concatenate([getattr(events, name), getattr(old, name)])
            for name in ("items", "times", "types", "values")
        ),
    )
    engine = recommender.engine
    world = dataclasses.replace(
        engine.world,
        events=joined,
        user_ids=engine.world.user_ids.extended(["early"]),
        event_splits=np.append(engine.world.event_splits, np.zeros(len(old.items), np.uint8)),
    )
    engine = dataclasses.replace(engine, world=world, friend_sampler=None)
    shop = Recommender(engine, NOW)
    users = world.user_ids[:8]
    table = shop.recommend(users, k=4, placement="new", unavailable=True)
    allowed = [world.items.ids[item] for item in range(10)]
    expected = shop.recommend(users, k=4, allow=allowed, unavailable=True)
    assert table["item_id"].to_pylist() == expected["item_id"].to_pylist()
    assert set(table["source"].to_pylist()) == {"new"}
    with pytest.raises(BadData, match="--placement new: no item"):
        shop.recommend(users, placement="new", allow=[world.items.ids[40]])


def shop_with_repeats(folder) -> World:
    """Item 0 is bought again after 2 and 4 days, item 1 after 10, item 2 never."""
    days = [[(0, 0), (0, 2), (0, 6), (1, 0), (1, 10), (2, 1)], [(0, 0), (0, 2), (2, 3)], [(1, 4)]]
    ordered = [sorted(purchases, key=lambda purchase: purchase[1]) for purchases in days]
    events = events_of([[item for item, _ in purchases] for purchases in ordered])
    times = np.array([day * DAY for purchases in ordered for _, day in purchases])
    buys = np.ones(len(times), np.uint8)
    return world_of(folder, dataclasses.replace(events, times=times, types=buys), 4)


def test_rhythms_equal_a_count_by_hand(tmp_path):
    world = shop_with_repeats(tmp_path)
    rhythms = Rhythms.of(world, NOW)
    # Three of five pairs of user and item were bought again.
    shares = [(2 + 10 * 0.5) / 12, (1 + 10 * 0.5) / 12, 10 * 0.5 / 12, 10 * 0.5 / 10]
    np.testing.assert_allclose(rhythms.repeat_shares, shares)
    np.testing.assert_allclose(rhythms.gaps, [2 * DAY, 3 * DAY, 3 * DAY, 3 * DAY])


def test_what_is_due_is_bought_again(recommender, tmp_path):
    world = recommender.engine.world
    table = recommender.recommend(k=ITEMS, placement="buy-again")
    assert not table.num_rows, "nobody buys anything again in this shop"

    # Every user had the last item again after an hour.
    items = [[*had, had[-1]] if had else [] for had in histories(world)]
    events = events_of(items)
    buys = dataclasses.replace(events, types=np.ones(len(events.items), np.uint8))
    engine = dataclasses.replace(
        recommender.engine,
        world=dataclasses.replace(
            world, events=buys, event_splits=np.zeros(len(events.items), np.uint8)
        ),
        friend_sampler=None,
    )
    shop = Recommender(engine, NOW)
    rhythms = Rhythms.of(shop.engine.world, NOW)
    now = int(shop.engine.world.query_times(NOW)[0])
    table = shop.recommend(k=5, placement="buy-again", unavailable=True)
    for user, chosen in enumerate(by_user(shop, table)):
        scores = np.zeros(ITEMS)
        for row in range(*events.offsets[user : user + 2]):
            item, elapsed = events.items[row], now - events.times[row]
            fit = np.exp(-abs(np.log(elapsed / rhythms.gaps[item])))
            scores[item] = rhythms.repeat_shares[item] * fit
        np.testing.assert_allclose(scores[chosen], best(scores, [], 5), rtol=1e-5)


@pytest.mark.parametrize("placement", ["basket", "trending", "friends"])
def test_placements_keep_the_rules_and_have_the_models_scores(recommender, placement):
    condition = "price < 60 and category != 'category 2'"
    table = recommender.recommend(k=8, placement=placement, where=condition, per_category=2)
    scored = recommender.score(table.select(["user_id", "item_id"]))
    np.testing.assert_allclose(scored["score"], table["score"], rtol=1e-4, atol=1e-4)
    for items in by_user(recommender, table):
        categories = offsets_of(np.sort(np.array(items, int) % 4), 4)
        assert np.diff(categories).max() <= 2
        assert all(item < 60 and item % 4 != 2 for item in items)


def test_a_placement_needs_friends(recommender):
    engine = dataclasses.replace(recommender.engine, friend_sampler=None)
    with pytest.raises(UsageError, match="no friends"):
        Recommender(engine, NOW).recommend(placement="friends")
