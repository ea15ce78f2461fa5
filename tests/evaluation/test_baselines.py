"""Baselines count only what they may see, equal a dense reference, and get better by tuning."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from socialrec_jax.data.features import item_knn
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.query import query_as_of
from socialrec_jax.data.world import BEFORE_VALIDATION, VALIDATION
from socialrec_jax.evaluation import baselines, protocol
from socialrec_jax.evaluation.sparse_scores import evaluate_sparse
from tests.worlds import cyclic_world, events_of


def dense_cosine(events, history_ends, num_items, s: ItemKNNSettings):
    together, counts = np.zeros((num_items, num_items)), np.zeros(num_items)
    for start, end in zip(events.offsets, history_ends, strict=False):
        items = events.items[start:end]
        np.add.at(counts, items, 1)
        for a in range(len(items)):
            for b in range(a + 1, min(a + s.window, len(items) - 1) + 1):
                together[items[a], items[b]] += s.distance_decay ** (b - a - 1)
    together = together + s.reverse * together.T
    np.fill_diagonal(together, 0)
    scale = np.maximum(counts, 1) ** -s.damping
    return scale[:, None] * together * scale[None]


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("settings", [ItemKNNSettings(), ItemKNNSettings(2, 0.5, 0.3, 0.4, 0.6)])
def test_item_knn_equals_the_dense_reference(world, monkeypatch, settings, in_blocks):
    if in_blocks:
        monkeypatch.setattr(item_knn, "_EVENTS_AT_ONCE", 20)
        monkeypatch.setattr(item_knn, "_ITEMS_AT_ONCE", 7)
    history_ends = world.history_ends(BEFORE_VALIDATION)
    fitted = ItemKNN.fit(world.events, history_ends, world.num_items, settings)
    dense = dense_cosine(world.events, history_ends, world.num_items, settings)
    np.testing.assert_allclose(fitted.similarity.toarray(), dense, rtol=1e-5, atol=1e-7)
    users = np.arange(world.num_users)
    query = query_as_of(world, users, BEFORE_VALIDATION)
    scores = fitted.scores(query).toarray()
    for user in users:
        recent = world.events.items[world.events.offsets[user] : history_ends[user]][::-1]
        expected = sum(
            (settings.history_decay**age * dense[item] for age, item in enumerate(recent)),
            np.zeros(40),
        )
        np.testing.assert_allclose(scores[user], expected, rtol=1e-4, atol=1e-6)


def test_rows_of_some_items_are_those_of_all(world):
    fit = functools.partial(
        ItemKNN.fit, world.events, world.history_ends(BEFORE_VALIDATION), world.num_items
    )
    all_rows = fit(ItemKNNSettings()).similarity.toarray()
    some_rows = fit(ItemKNNSettings(), only=np.array([3, 7, 39])).similarity.toarray()
    np.testing.assert_array_equal(some_rows[[3, 7, 39]], all_rows[[3, 7, 39]])
    some_rows[[3, 7, 39]] = 0
    assert not some_rows.any()


def test_only_the_most_similar_neighbours_are_kept(world, monkeypatch):
    monkeypatch.setattr(item_knn, "_MAX_NEIGHBOURS", 3)
    fitted = ItemKNN.fit(
        world.events, world.history_ends(BEFORE_VALIDATION), world.num_items, ItemKNNSettings()
    )
    dense = dense_cosine(
        world.events, world.history_ends(BEFORE_VALIDATION), world.num_items, ItemKNNSettings()
    )
    kept = fitted.similarity.toarray()
    assert (np.count_nonzero(kept, axis=1) <= 3).all()
    np.testing.assert_allclose(
        np.sort(kept, 1)[:, -3:], np.sort(dense, 1)[:, -3:], rtol=1e-5, atol=1e-7
    )


def test_held_out_events_change_nothing(world):
    history_ends = world.history_ends(BEFORE_VALIDATION)
    hidden = world.events.items.copy()
    hidden[np.arange(len(hidden)) >= history_ends[world.events.owners]] = 0
    changed = type(world.events)(
        world.events.offsets,
        hidden,
        *[getattr(world.events, n) for n in ("times", "types", "values")],
    )
    for fit in (baselines.popular, recent_popularity):
        np.testing.assert_array_equal(
            fit(world.events, history_ends, 40), fit(changed, history_ends, 40)
        )
    a, b = (
        ItemKNN.fit(e, history_ends, 40, ItemKNNSettings()).similarity.toarray()
        for e in (world.events, changed)
    )
    np.testing.assert_array_equal(a, b)


def test_tuning_never_validates_worse_than_the_plain_cosine(tmp_path):
    world = cyclic_world(tmp_path)
    queries, history_ends = (
        protocol.held_out(world, VALIDATION),
        world.history_ends(BEFORE_VALIDATION),
    )

    def value(cosine):
        scores = lambda part: cosine.scores(part.query)  # noqa: E731
        return evaluate_sparse(scores, queries, world.num_items).metrics["ndcg@10"]

    def fit(settings):
        return ItemKNN.fit(world.events, history_ends, world.num_items, settings)

    settings = baselines.tune_item_knn(fit, value)
    assert value(fit(settings)) > value(fit(ItemKNNSettings()))
    assert settings.reverse < 1, "the planted sequences have a direction"


def test_recent_popularity_prefers_what_is_new():
    events = events_of([[0, 0, 0, 0, 0, 0, 0, 1, 1, 1]], gap=86_400)
    assert baselines.popular(events, events.offsets[1:], 3).tolist() == [7, 3, 0]
    recent = recent_popularity(events, events.offsets[1:], 3)
    assert recent.argsort().tolist() == [2, 0, 1]
    assert np.exp(recent).sum() == pytest.approx(1, rel=1e-4)
    assert recent_popularity(events, events.offsets[:-1], 3).tolist() == [0, 0, 0]
