"""Serving computes what training computed, and what it offers holds what it promises."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.world import TEST, VALIDATION
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Recommender
from socialrec_jax.models.recommender import RecommenderModel
from tests.worlds import random_world


def untrained_recommender(folder, **settings):
    """(World, Recommender, params) of a model with random parameters."""
    world = random_world(folder)
    config = Config(
        model=ModelConfig(width=16, num_heads=2, history_length=16, dropout=0.3, **settings)
    )
    model = RecommenderModel(config.model, world.num_items, 2)
    batch = TrainingBatches(
        world.events, world.history_ends(VALIDATION), world.first_time, 16, 4, 0
    ).at(0)
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(jax.random.key(1), p.shape), params)
    return world, Recommender(world, config, model).use(params), params


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return untrained_recommender(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("request_time", [False, True])
def test_training_equals_serving(tmp_path, request_time):
    """The state of every position of a packed training batch is the one that serving computes for
    that moment.
    """
    world, recommender, params = untrained_recommender(tmp_path, request_time=request_time)
    batches = TrainingBatches(
        world.events, world.history_ends(VALIDATION), world.first_time, 16, 8, 0
    )
    batch = batches.at(0)
    owners = world.events.owners[batches.indices(0).sources]
    trained = np.asarray(recommender.model.bind({"params": params}).encode_users(batch))
    on = batch.segments > 0
    rows = [
        start + list(world.events.items[start:end]).index(item)
        for item, start, end in zip(
            batch.items[on], *world.events.offsets[owners[on] + [[0], [1]]], strict=True
        )
    ]
    history_ends = np.array(rows) + 1
    served = recommender.states(
        world.events, owners[on], history_ends, world.events.times[history_ends]
    )
    np.testing.assert_allclose(served, trained[on], atol=2e-5)
    if request_time:
        assert (
            np.abs(recommender.states(world.events, owners[on], history_ends) - trained[on]).max()
            > 1e-4
        )


def test_all_users_come_in_order_with_k_new_items(untrained):
    world, recommender, _ = untrained
    parts = list(recommender.recommend(np.arange(world.num_users), k=5))
    users = np.concatenate([part.users for part in parts])
    np.testing.assert_array_equal(users, np.arange(world.num_users))
    for part in parts:
        assert (np.diff(part.scores, axis=1) <= 0).all(), "best first"
        for user, items in zip(part.users, part.items, strict=True):
            start, end = world.events.offsets[user : user + 2]
            assert not set(items) & set(world.events.items[start:end])


def test_probabilities_are_those_of_the_next_event(untrained):
    world, recommender, _ = untrained
    (part,) = recommender.recommend(np.arange(world.num_users), k=world.num_items)
    total = np.where(part.exists[..., None], part.type_probabilities, 0).sum((1, 2))
    np.testing.assert_allclose(total, 1, rtol=1e-4)


def test_reasons_are_recent_items_of_the_user(untrained):
    world, recommender, _ = untrained
    for part in recommender.recommend(np.arange(world.num_users), k=5):
        for user, reasons in zip(part.users, part.reasons, strict=True):
            start, end = world.events.offsets[user : user + 2]
            assert set(reasons) <= set(world.events.items[start:end][-10:])


def test_as_of_hides_what_came_later(untrained):
    world, recommender, _ = untrained
    users = np.arange(world.num_users)
    (before,) = recommender.recommend(users, k=3, as_of=VALIDATION)
    (by_time,) = recommender.recommend(users, k=3, as_of=int(world.events.times.max()) + 1)
    (now,) = recommender.recommend(users, k=3)
    (test,) = recommender.recommend(users, k=3, as_of=TEST)
    np.testing.assert_array_equal(by_time.items, now.items)
    assert (before.items != now.items).any()
    assert (test.items != now.items).any()


@pytest.mark.parametrize("k", [0, 41])
def test_k_must_fit_the_catalogue(untrained, k):
    with pytest.raises(UsageError, match=r"1\.\.40"):
        next(untrained[1].recommend(np.arange(3), k=k))
