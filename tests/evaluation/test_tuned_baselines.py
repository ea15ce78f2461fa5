"""User-kNN with friends equals its formula, and counts only what was known at the query time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.data.world import BEFORE_VALIDATION, TEST, VALIDATION
from socialrec_jax.evaluation import protocol, similar_users
from socialrec_jax.evaluation.baselines import UserKNN, UserKNNSettings, tune_user_knn
from socialrec_jax.evaluation.similar_users import SimilarUsers
from socialrec_jax.evaluation.tuned_baselines import fit_tuned_baselines
from tests.data.features.test_ranker_features import ITEMS, USERS, friends_by_loops, query_of, shop
from tests.worlds import events_of


def unit_histories(world, history_ends) -> np.ndarray:
    had = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        had[user, world.events.items[world.events.offsets[user] : history_ends[user]]] = 1
    return had / np.maximum(np.linalg.norm(had, axis=1, keepdims=True), 1e-12)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize(
    "settings", [UserKNNSettings(4), UserKNNSettings(100), UserKNNSettings(100, 2.0, 0.3)]
)
def test_scores_equal_the_dense_definition(tmp_path, settings, repeats):
    world = shop(tmp_path, repeats)
    fitted = dataclasses.replace(
        UserKNN.fit(world, world.history_ends(BEFORE_VALIDATION)), settings=settings
    )
    query = dataclasses.replace(query_of(world, TEST), friend_sampler=fitted.friend_sampler)
    scores = fitted.scores(query).toarray()
    kept = unit_histories(world, world.history_ends(BEFORE_VALIDATION))
    cosines = unit_histories(world, query.history_ends) @ kept.T
    np.fill_diagonal(cosines, 0)
    ordered = np.sort(cosines, axis=1)[:, ::-1]
    k = min(settings.neighbours, USERS - 1)
    clear = ordered[:, k - 1] > ordered[:, k] + 1e-6 if k < USERS - 1 else np.ones(USERS, bool)
    assert clear.sum() > 3, "users without a tie at the last neighbour"
    expected = np.where(cosines >= ordered[:, [k - 1]], cosines, 0) @ kept
    friends = friends_by_loops(world, query, 50, 100)
    expected += settings.friend_weight * np.expm1(friends["friends with the item"])
    expected += settings.similarity_weight * friends["similar friends with the item"]
    np.testing.assert_allclose(scores[clear], expected[clear], rtol=1e-4, atol=1e-5)


def test_a_bound_of_memory_changes_nothing(tmp_path, monkeypatch):
    world = shop(tmp_path)
    fitted = UserKNN.fit(world, world.history_ends(BEFORE_VALIDATION))
    query = query_of(world, TEST)
    whole = fitted.scores(query).toarray()
    monkeypatch.setattr(similar_users, "_SIMILARITIES_AT_ONCE", 100)
    np.testing.assert_array_equal(fitted.scores(query).toarray(), whole)


def test_remembered_neighbours_are_searched_once_for_all_settings(tmp_path, monkeypatch):
    world = shop(tmp_path)
    fitted = UserKNN.fit(world, world.history_ends(BEFORE_VALIDATION))
    remembering, query = fitted.remembering(30), query_of(world, TEST)
    for k in (30, 4, 30):
        settings = UserKNNSettings(k)
        expected = dataclasses.replace(fitted, settings=settings).scores(query).toarray()
        remembered = dataclasses.replace(remembering, settings=settings)
        np.testing.assert_array_equal(remembered.scores(query).toarray(), expected)
        # A second search would fail.
        monkeypatch.setattr(remembering.search, "_search", None)


def test_tuning_keeps_what_validates_best(tmp_path):
    world = shop(tmp_path)
    target = UserKNNSettings(30, 5.0, 0.05)

    def value(candidate) -> float:
        return sum(
            getattr(candidate.settings, f.name) == getattr(target, f.name)
            for f in dataclasses.fields(target)
        )

    assert tune_user_knn(world, world.history_ends(BEFORE_VALIDATION), value).settings == target


def test_without_friends_there_is_no_setting_of_friends(world):
    tuned = tune_user_knn(
        world,
        world.history_ends(BEFORE_VALIDATION),
        lambda c: c.settings.friend_weight + c.settings.similarity_weight,
    )
    assert tuned.settings == UserKNNSettings()


@pytest.mark.parametrize("friends", [False, True])
def test_baselines_are_named_by_whether_they_use_friends(tmp_path, world, friends):
    world = shop(tmp_path) if friends else world
    nobody = protocol.held_out(world, VALIDATION).part(np.arange(0))
    baselines = fit_tuned_baselines(world, nobody)
    name = "user-kNN" + (" and friends" if friends else "")
    assert set(baselines) == {"popular", "recently popular", "item-kNN", name}
    queries = protocol.held_out(world, TEST)
    for evaluate in baselines.values():
        assert len(evaluate(queries).ranks) == len(queries.target_rows)


def test_of_a_popular_item_the_last_users_count(monkeypatch):
    # Everybody had item 0, and the users 1 and 2 had it last.
    monkeypatch.setattr(similar_users, "_LONGEST_LIST", 2)
    events = events_of([[0, 1], [0, 2], [0, 3], [0, 4, 0]], gap=10)
    latest = np.array([0, 300, 200, 100])  # of the users' events
    times = events.times + np.repeat(latest, np.diff(events.offsets))
    ends = events.offsets[1:].copy()
    fitted = SimilarUsers.fit(dataclasses.replace(events, times=times), ends, 5)
    assert fitted.users_of_items[[0]].indices.tolist() == [1, 2]
    assert fitted.users_of_items[[4]].indices.tolist() == [3], "short lists stay whole"
    assert np.diff(fitted.histories.indptr).tolist() == [2, 2, 2, 2]
