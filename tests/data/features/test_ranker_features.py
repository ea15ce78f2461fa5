"""Every feature equals its definition by loops, and no feature reads a friend's future."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.features import friend_events, tfidf
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.ranker_features import NAMES, RankerFeatures
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import BEFORE_VALIDATION, NO_TIME, TEST, World
from tests.worlds import events_of, random_edges, random_world, with_friends, with_texts, world_of

FIRST, USERS, ITEMS = 1_000_000, 60, 40
SETTINGS = ItemKNNSettings(window=4, reverse=0.6, damping=0.4)


def shop(folder, repeats: bool = False, seed: int = 0) -> World:
    """A World with texts and with friendships of some time, a third of them of unknown age."""
    world = random_world(folder, USERS, ITEMS, seed)
    if repeats:
        rng = np.random.default_rng(seed + 1)
        world = world_of(
            folder,
            events_of([rng.integers(0, 6, rng.integers(0, 12)).tolist() for _ in range(USERS)]),
            ITEMS,
        )
    edges = random_edges(USERS, 400, (FIRST - 10_000, FIRST + 30_000), seed)
    world = with_friends(
        world,
        [(u, f, w, int(NO_TIME) if n % 3 == 0 else t) for n, (u, f, w, t) in enumerate(edges)],
    )
    words, tags = ("red", "blue", "old", "new", "big"), ("toys", "shoes", "lamps")
    rng = np.random.default_rng(seed + 2)
    titles = [" ".join(rng.choice(words, rng.integers(0, 4))) for _ in range(ITEMS)]
    return with_texts(
        world,
        titles=titles,
        tags=["|".join(rng.choice(tags, rng.integers(0, 3))) for _ in range(ITEMS)],
    )


def query_of(world: World, part: int = TEST) -> Query:
    users = np.arange(USERS)
    as_of = AsOf.before(part)
    history_ends, query_times = world.history_ends(as_of), world.query_times(as_of)
    sampler = FriendSampler(world.events, world.friends, history_ends)
    return Query(world.events, users, history_ends, query_times, sampler)


def all_features(fitted: RankerFeatures, query: Query) -> dict[str, np.ndarray]:
    """Each feature [q, V], with zeros for the two that the caller computes."""
    candidates = np.tile(np.arange(ITEMS, dtype=np.int32), (len(query.users), 1))
    given = np.zeros(candidates.shape, np.float32)
    features = fitted.compute(fitted.look_up(query), candidates, given, given)
    assert features.shape == (*candidates.shape, len(NAMES))
    assert features.dtype == np.float32
    return dict(zip(NAMES, np.moveaxis(features, -1, 0), strict=True))


def histories(query: Query) -> list[list[int]]:
    starts = query.events.offsets[query.users]
    return [
        query.events.items[start:end].tolist()
        for start, end in zip(starts, query.history_ends, strict=True)
    ]


def friends_by_loops(
    world: World, query: Query, max_friends: int, max_events: int
) -> dict[str, np.ndarray]:
    friends, events, history_ends = world.friends, world.events, query.friend_sampler.history_ends
    had, latest, similar, number = np.zeros((4, USERS, ITEMS))
    for user, query_time, own in zip(query.users, query.query_times, histories(query), strict=True):
        rows = [
            r for r in range(*friends.offsets[user : user + 2]) if friends.times[r] < query_time
        ]
        number[user] = len(rows)
        for row in sorted(rows, key=lambda r: friends.times[r])[-max_friends:]:
            friend, weight = friends.ids[row], friends.weights[row]
            known = range(events.offsets[friend], history_ends[friend])
            known_items = [int(events.items[d]) for d in known if events.times[d] < query_time]
            did = known_items[-max_events:][::-1]
            both = len(set(own) & set(did))
            for item in set(did):
                had[user, item] += weight
                latest[user, item] += weight / (1 + did.index(item) / 10)
                similar[user, item] += (
                    weight * both / np.sqrt(max(len(set(own)), 1) * len(set(did)))
                )
    names = (
        "friends with the item",
        "recency of friends with the item",
        "similar friends with the item",
        "number of friends",
    )
    return dict(zip(names, (np.log1p(had), latest, similar, np.log1p(number)), strict=True))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("max_friends", "max_events"), [(50, 100), (2, 3)])
@pytest.mark.parametrize("repeats", [False, True], ids=["new items", "repeats"])
def test_friend_features_equal_loops(tmp_path, monkeypatch, repeats, max_friends, max_events, seed):
    monkeypatch.setattr(friend_events, "_MAX_FRIENDS", max_friends)
    monkeypatch.setattr(friend_events, "_MAX_EVENTS", max_events)
    world = shop(tmp_path, repeats, seed)
    query = query_of(world)
    features = all_features(
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS), query
    )
    for name, expected in friends_by_loops(world, query, max_friends, max_events).items():
        np.testing.assert_allclose(features[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
        assert expected.any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("repeats", [False, True], ids=["new items", "repeats"])
def test_item_and_history_features_equal_loops(tmp_path, repeats, seed):
    world = shop(tmp_path, repeats, seed)
    history_ends, query = world.history_ends(BEFORE_VALIDATION), query_of(world)
    fitted = RankerFeatures.fit(world, history_ends, SETTINGS)
    features = all_features(fitted, query)
    together = fitted.item_knn.scores(query).toarray()
    visible = [
        i
        for u in range(USERS)
        for i in world.events.items[world.events.offsets[u] : history_ends[u]]
    ]
    counts = np.bincount(visible, minlength=ITEMS)
    recent = recent_popularity(world.events, history_ends, ITEMS)
    recent_weights, last = np.zeros((2, USERS, ITEMS))
    for user, history in enumerate(histories(query)):
        for age, item in enumerate(history[::-1]):
            recent_weights[user, item] += 0.8**age
            last[user, item] += age == 0
    words, labels = (
        tfidf.word_matrix(world.items).toarray(),
        tfidf.label_matrix(world.items).toarray(),
    )
    expected = {
        "item-kNN score": np.log(together + 1e-4),
        "item-kNN score above zero": together > 0,
        "shared labels": recent_weights @ labels @ labels.T,
        "shared words": recent_weights @ words @ words.T,
        "shared words with the last item": last @ words @ words.T,
        "popularity": np.tile(np.log1p(counts), (USERS, 1)),
        "recent popularity": np.tile(recent, (USERS, 1)),
        "popularity trend": np.tile(
            recent - np.log((counts + 0.1) / (counts.sum() + 0.1 * ITEMS)), (USERS, 1)
        ),
        "history length": np.tile(np.log1p([len(h) for h in histories(query)]), (ITEMS, 1)).T,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(features[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
        assert values.std() > 0, name


def test_features_follow_the_candidates(tmp_path):
    world = shop(tmp_path)
    query, fitted = (
        query_of(world),
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS),
    )
    rng = np.random.default_rng(0)
    candidates = rng.integers(0, ITEMS, (USERS, 6)).astype(np.int32)
    retrieval, text = rng.normal(size=(2, USERS, 6)).astype(np.float32)
    features = fitted.compute(fitted.look_up(query), candidates, retrieval, text)
    for n, (name, whole) in enumerate(all_features(fitted, query).items()):
        given = {NAMES[-2]: retrieval, NAMES[-1]: text}.get(
            name, np.take_along_axis(whole, candidates, 1)
        )
        np.testing.assert_allclose(features[..., n], given, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("delay", "is_seen"), [(-1, True), (0, False), (1, False)])
def test_only_friend_events_strictly_before_the_query_time_count(tmp_path, delay, is_seen):
    """The query time of user 0 is its last event; the friend takes another item around then."""
    query_time = FIRST + 3600
    base = with_friends(
        world_of(tmp_path, events_of([[1, 2], [3, 4], [5, 6, 7, 8]]), ITEMS),
        [(0, 1, 1.0, int(NO_TIME))],
    )
    times, items = base.events.times.copy(), base.events.items.copy()
    times[3], items[3] = query_time + delay, 9
    changed = dataclasses.replace(
        base, events=dataclasses.replace(base.events, times=times, items=items)
    )
    fitted = RankerFeatures.fit(base, base.history_ends(BEFORE_VALIDATION), SETTINGS)

    def of_user(world: World) -> Query:
        sampler = FriendSampler(world.events, world.friends, world.history_ends())
        return Query(
            world.events, np.array([0]), world.history_ends()[:1], np.array([query_time]), sampler
        )

    before, after = all_features(fitted, of_user(base)), all_features(fitted, of_user(changed))
    changed_features = {name for name in NAMES if not np.array_equal(before[name], after[name])}
    assert ("friends with the item" in changed_features) == is_seen
    assert changed_features <= {
        "friends with the item",
        "recency of friends with the item",
        "similar friends with the item",
    }
    assert bool(after["friends with the item"][0, 9]) == is_seen
    assert not before["friends with the item"][0, 4], "it happened at the query time"


@pytest.mark.parametrize(
    "hidden", ["events after the history ends", "friendships at the query time"]
)
def test_later_events_and_friendships_change_no_feature(tmp_path, hidden):
    world = shop(tmp_path)
    history_ends, query_time = world.history_ends(AsOf.time(FIRST + 14_000)), FIRST + 14_000
    items, times = world.events.items.copy(), world.friends.times.copy()
    if hidden == "events after the history ends":
        items[np.arange(len(items)) >= history_ends[world.events.owners]] = 0
    else:
        late = times >= query_time
        times[late] = np.random.default_rng(0).integers(query_time, query_time + 9, late.sum())
    other = dataclasses.replace(
        world,
        events=dataclasses.replace(world.events, items=items),
        friends=dataclasses.replace(world.friends, times=times),
    )
    features = []
    for w in (world, other):
        sampler = FriendSampler(w.events, w.friends, w.history_ends())
        query = Query(w.events, np.arange(USERS), history_ends, np.full(USERS, query_time), sampler)
        features.append(all_features(RankerFeatures.fit(w, history_ends, SETTINGS), query))
    for name in NAMES:
        np.testing.assert_array_equal(features[0][name], features[1][name], err_msg=name)


def test_saved_features_are_the_same_when_loaded(tmp_path):
    world = shop(tmp_path)
    query, fitted = (
        query_of(world),
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS),
    )
    fitted.save(tmp_path / "features")
    loaded = RankerFeatures.load(tmp_path / "features")
    assert loaded.settings == SETTINGS
    for name, values in all_features(loaded, query).items():
        np.testing.assert_array_equal(values, all_features(fitted, query)[name], err_msg=name)


def test_a_world_without_friends_and_texts_has_the_other_features(world, tmp_path):
    fitted = RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS)
    query = dataclasses.replace(query_of(world), friend_sampler=None)
    features = all_features(fitted, query)
    absent = {name for name in NAMES if "friends" in name or "shared" in name or "text" in name}
    for name in NAMES[:-2]:
        assert np.isfinite(features[name]).all()
        assert features[name].any() == (name not in absent), name
    assert "friends" not in fitted.proposals(
        fitted.look_up(query), dict.fromkeys(("bought together", "trending"), 5)
    )
    fitted.save(tmp_path / "features")
    assert RankerFeatures.load(tmp_path / "features").labels.shape == fitted.labels.shape


def test_proposals_are_the_top_of_their_features(tmp_path):
    world = shop(tmp_path)
    query, fitted = (
        query_of(world),
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS),
    )
    lists = fitted.proposals(
        fitted.look_up(query), {"bought together": 6, "friends": 5, "trending": 7}
    )
    features = all_features(fitted, query)
    recency = features["recency of friends with the item"]
    sources = {
        "bought together": np.where(
            features["item-kNN score above zero"] > 0, features["item-kNN score"], -np.inf
        ),
        "friends": np.where(recency > 0, recency, -np.inf),
        "trending": features["recent popularity"],
    }
    assert lists.keys() == sources.keys()
    for name, score in sources.items():
        for row, items in zip(score, lists[name], strict=True):
            best = np.sort(row)[::-1][: len(items)]
            np.testing.assert_allclose(
                np.sort(row[items[items >= 0]])[::-1], best[np.isfinite(best)], err_msg=name
            )
