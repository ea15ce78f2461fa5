"""Every signal is what its name says, by loops over histories; and nothing of a friend's future is
in it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.features import friend_events, ranker_features, tfidf
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.ranker_features import NAMES, RankerFeatures
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import BEFORE_VALIDATION, NO_TIME, TEST, World
from tests.worlds import events_of, random_edges, random_world, with_friends, with_texts, world_of

FIRST, USERS, ITEMS = 1_000_000, 60, 40
SETTINGS = ItemKNNSettings(window=4, reverse=0.6, damping=0.4)


def shop(folder, repeats: bool = False) -> World:
    """A World with texts and with friendships of some time, a third of them of unknown age."""
    world = random_world(folder, USERS, ITEMS)
    if repeats:
        rng = np.random.default_rng(1)
        world = world_of(
            folder,
            events_of([rng.integers(0, 6, rng.integers(0, 12)).tolist() for _ in range(USERS)]),
            ITEMS,
        )
    edges = random_edges(USERS, 400, (FIRST - 10_000, FIRST + 30_000))
    world = with_friends(
        world,
        [(u, f, w, int(NO_TIME) if n % 3 == 0 else t) for n, (u, f, w, t) in enumerate(edges)],
    )
    words, tags = ("red", "blue", "old", "new", "big"), ("toys", "shoes", "lamps")
    rng = np.random.default_rng(2)
    titles = [" ".join(rng.choice(words, rng.integers(0, 4))) for _ in range(ITEMS)]
    return with_texts(
        world,
        titles=titles,
        tags=["|".join(rng.choice(tags, rng.integers(0, 3))) for _ in range(ITEMS)],
    )


def questions(world: World, part: int = TEST) -> Query:
    users = np.arange(USERS)
    hood = FriendSampler(world.events, world.friends, world.history_ends(AsOf.before(part)))
    return Query(
        world.events,
        users,
        world.history_ends(AsOf.before(part)),
        world.query_times(AsOf.before(part)),
        hood,
    )


def all_signals(fitted: RankerFeatures, asked: Query) -> dict[str, np.ndarray]:
    """Each signal [q, V], with zeros for the two that are given."""
    candidates = np.tile(np.arange(ITEMS, dtype=np.int32), (len(asked.users), 1))
    given = np.zeros(candidates.shape, np.float32)
    found = fitted.of(fitted.look_up(asked), candidates, given, given)
    assert found.shape == (*candidates.shape, len(NAMES))
    assert found.dtype == np.float32
    return dict(zip(NAMES, np.moveaxis(found, -1, 0), strict=True))


def histories(asked: Query) -> list[list[int]]:
    starts = asked.events.offsets[asked.users]
    return [
        asked.events.items[start:end].tolist()
        for start, end in zip(starts, asked.history_ends, strict=True)
    ]


def friends_by_loops(
    world: World, asked: Query, most_friends: int, most_deeds: int
) -> dict[str, np.ndarray]:
    friends, events, history_ends = world.friends, world.events, asked.friend_sampler.history_ends
    had, latest, alike, number = np.zeros((4, USERS, ITEMS))
    for user, moment, own in zip(asked.users, asked.query_times, histories(asked), strict=True):
        rows = [r for r in range(*friends.offsets[user : user + 2]) if friends.times[r] < moment]
        number[user] = len(rows)
        for row in sorted(rows, key=lambda r: friends.times[r])[-most_friends:]:
            friend, weight = friends.ids[row], friends.weights[row]
            known = range(events.offsets[friend], history_ends[friend])
            did = [int(events.items[d]) for d in known if events.times[d] < moment][-most_deeds:][
                ::-1
            ]
            both = len(set(own) & set(did))
            for item in set(did):
                had[user, item] += weight
                latest[user, item] += weight / (1 + did.index(item) / 10)
                alike[user, item] += weight * both / np.sqrt(max(len(set(own)), 1) * len(set(did)))
    names = ("friends who had it", "friends' latest", "like-minded friends", "number of friends")
    return dict(zip(names, (np.log1p(had), latest, alike, np.log1p(number)), strict=True))


@pytest.mark.parametrize(("most_friends", "most_deeds"), [(50, 100), (2, 3)])
@pytest.mark.parametrize("repeats", [False, True], ids=["new items", "repeats"])
def test_signals_of_friends_equal_loops(tmp_path, monkeypatch, repeats, most_friends, most_deeds):
    monkeypatch.setattr(friend_events, "_MAX_FRIENDS", most_friends)
    monkeypatch.setattr(friend_events, "_MAX_EVENTS", most_deeds)
    world = shop(tmp_path, repeats)
    asked = questions(world)
    found = all_signals(
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS), asked
    )
    for name, expected in friends_by_loops(world, asked, most_friends, most_deeds).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
        assert expected.any()


def test_signals_of_items_and_histories_equal_loops(tmp_path):
    world = shop(tmp_path)
    history_ends, asked = world.history_ends(BEFORE_VALIDATION), questions(world)
    fitted = RankerFeatures.fit(world, history_ends, SETTINGS)
    found = all_signals(fitted, asked)
    together = fitted.cosine.scores(asked.events, asked.users, asked.history_ends)
    visible = [
        i
        for u in range(USERS)
        for i in world.events.items[world.events.offsets[u] : history_ends[u]]
    ]
    counts = np.bincount(visible, minlength=ITEMS)
    recent = recent_popularity(world.events, history_ends, ITEMS)
    recent_weights, last = np.zeros((2, USERS, ITEMS))
    for user, history in enumerate(histories(asked)):
        for age, item in enumerate(history[::-1]):
            recent_weights[user, item] += 0.8**age
            last[user, item] = age == 0
    words, labels = tfidf.words(world.items).toarray(), tfidf.labels(world.items).toarray()
    expected = {
        "bought together": np.log(together + 1e-4),
        "bought together at all": together > 0,
        "labels shared": recent_weights @ labels @ labels.T,
        "words shared": recent_weights @ words @ words.T,
        "words shared with the last item": last @ words @ words.T,
        "popularity": np.tile(np.log1p(counts), (USERS, 1)),
        "recent popularity": np.tile(recent, (USERS, 1)),
        "trend": np.tile(
            recent - np.log((counts + 0.1) / (counts.sum() + 0.1 * ITEMS)), (USERS, 1)
        ),
        "events so far": np.tile(np.log1p([len(h) for h in histories(asked)]), (ITEMS, 1)).T,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
        assert values.std() > 0, name


def test_signals_follow_the_candidates(tmp_path):
    world = shop(tmp_path)
    asked, fitted = (
        questions(world),
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS),
    )
    rng = np.random.default_rng(0)
    candidates = rng.integers(0, ITEMS, (USERS, 6)).astype(np.int32)
    retrieval, text = rng.normal(size=(2, USERS, 6)).astype(np.float32)
    found = fitted.of(fitted.look_up(asked), candidates, retrieval, text)
    for n, (name, whole) in enumerate(all_signals(fitted, asked).items()):
        given = {NAMES[-2]: retrieval, NAMES[-1]: text}.get(
            name, np.take_along_axis(whole, candidates, 1)
        )
        np.testing.assert_allclose(found[..., n], given, rtol=1e-6, atol=1e-6, err_msg=name)
    part = asked.part(slice(7, 12))
    alone = fitted.of(fitted.look_up(part), candidates[7:12], retrieval[7:12], text[7:12])
    np.testing.assert_allclose(alone, found[7:12], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("delay", "is_seen"), [(-1, True), (0, False), (1, False)])
def test_of_a_friend_counts_what_is_strictly_before_the_moment(tmp_path, delay, is_seen):
    """User 0 is asked right at its last event; the friend turns to another item around then."""
    moment = FIRST + 3600
    base = with_friends(
        world_of(tmp_path, events_of([[1, 2], [3, 4], [5, 6, 7, 8]]), ITEMS),
        [(0, 1, 1.0, int(NO_TIME))],
    )
    times, items = base.events.times.copy(), base.events.items.copy()
    times[3], items[3] = moment + delay, 9
    changed = dataclasses.replace(
        base, events=dataclasses.replace(base.events, times=times, items=items)
    )
    fitted = RankerFeatures.fit(base, base.history_ends(BEFORE_VALIDATION), SETTINGS)

    def of_user(world: World) -> Query:
        hood = FriendSampler(world.events, world.friends, world.history_ends())
        return Query(
            world.events, np.array([0]), world.history_ends()[:1], np.array([moment]), hood
        )

    before, after = all_signals(fitted, of_user(base)), all_signals(fitted, of_user(changed))
    moved = {name for name in NAMES if not np.array_equal(before[name], after[name])}
    assert ("friends who had it" in moved) == is_seen
    assert moved <= {"friends who had it", "friends' latest", "like-minded friends"}
    assert bool(after["friends who had it"][0, 9]) == is_seen
    assert not before["friends who had it"][0, 4], "it happened at the moment"


@pytest.mark.parametrize("hidden", ["events after the ends", "friendships at the moment"])
def test_what_comes_later_is_nowhere_in_the_signals(tmp_path, hidden):
    world = shop(tmp_path)
    history_ends, moment = world.history_ends(AsOf.time(FIRST + 14_000)), FIRST + 14_000
    items, times = world.events.items.copy(), world.friends.times.copy()
    if hidden == "events after the ends":
        items[np.arange(len(items)) >= history_ends[world.events.owners]] = 0
    else:
        late = times >= moment
        times[late] = np.random.default_rng(0).integers(moment, moment + 9, late.sum())
    other = dataclasses.replace(
        world,
        events=dataclasses.replace(world.events, items=items),
        friends=dataclasses.replace(world.friends, times=times),
    )
    found = []
    for w in (world, other):
        hood = FriendSampler(w.events, w.friends, w.history_ends())
        asked = Query(w.events, np.arange(USERS), history_ends, np.full(USERS, moment), hood)
        found.append(all_signals(RankerFeatures.fit(w, history_ends, SETTINGS), asked))
    for name in NAMES:
        np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=name)


def test_what_was_saved_gives_the_same_signals(tmp_path):
    world = shop(tmp_path)
    asked, fitted = (
        questions(world),
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS),
    )
    fitted.save(tmp_path / "signals")
    loaded = RankerFeatures.load(tmp_path / "signals")
    assert loaded.settings == SETTINGS
    for name, values in all_signals(loaded, asked).items():
        np.testing.assert_array_equal(values, all_signals(fitted, asked)[name], err_msg=name)


def test_a_world_without_friends_and_texts_has_the_other_signals(world, tmp_path):
    fitted = RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS)
    asked = dataclasses.replace(questions(world), friend_sampler=None)
    found = all_signals(fitted, asked)
    absent = {name for name in NAMES if "friends" in name or "shared" in name or "text" in name}
    for name in NAMES[:-2]:
        assert np.isfinite(found[name]).all()
        assert found[name].any() == (name not in absent), name
    assert "friends" not in fitted.proposals(
        fitted.look_up(asked), dict.fromkeys(("bought together", "trending"), 5)
    )
    fitted.save(tmp_path / "signals")
    assert RankerFeatures.load(tmp_path / "signals").labels.shape == fitted.labels.shape


def test_proposals_are_the_heads_of_their_signals(tmp_path):
    world = shop(tmp_path)
    asked, fitted = (
        questions(world),
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS),
    )
    lists = fitted.proposals(
        fitted.look_up(asked), {"bought together": 6, "friends": 5, "trending": 7}
    )
    found = all_signals(fitted, asked)
    sources = {
        "bought together": np.where(
            found["bought together at all"] > 0, found["bought together"], -np.inf
        ),
        "friends": np.where(found["friends' latest"] > 0, found["friends' latest"], -np.inf),
        "trending": found["recent popularity"],
    }
    assert lists.keys() == sources.keys()
    for name, score in sources.items():
        for row, items in zip(score, lists[name], strict=True):
            best = np.sort(row)[::-1][: len(items)]
            np.testing.assert_allclose(
                np.sort(row[items[items >= 0]])[::-1], best[np.isfinite(best)], err_msg=name
            )


def test_chunks_shrink_with_the_catalogue(world, monkeypatch):
    fitted = RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS)
    assert fitted.chunk == 512
    monkeypatch.setattr(ranker_features, "_CELLS_AT_ONCE", 3 * ITEMS)
    assert fitted.chunk == 3
