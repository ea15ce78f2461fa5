"""Serving computes what training computed, and what it offers holds what it promises."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import BEFORE_TEST, BEFORE_VALIDATION
from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.models.recommender import RecommenderModel
from tests.parameters import perturbed
from tests.worlds import random_world


def untrained_engine(folder, **settings):
    """(World, Engine, params) of a model with random parameters."""
    world = random_world(folder)
    config = Config(
        model=ModelConfig(width=16, num_layers=1, history_length=16, dropout=0.3, **settings)
    )
    model = RecommenderModel(config.model, world.num_items, 2)
    batch = TrainingBatches(
        world.events, world.history_ends(BEFORE_VALIDATION), world.first_time, 16, 4, 0
    ).at(0)
    params = perturbed(jax.jit(model.init)(jax.random.key(0), batch)["params"])
    return world, Engine.create(world, config, model, params), params


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return untrained_engine(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("request_time", [False, True])
def test_training_equals_serving(tmp_path, request_time):
    """The state of every position of a packed training batch is the one that serving computes for
    that moment.
    """
    world, engine, params = untrained_engine(tmp_path, request_time=request_time)
    batches = TrainingBatches(
        world.events, world.history_ends(BEFORE_VALIDATION), world.first_time, 16, 8, 0
    )
    batch = batches.at(0)
    owners = world.events.owners[batches.indices(0).sources]
    encode = jax.jit(lambda batch: engine.model.bind({"params": params}).encode_users(batch))
    trained = np.asarray(encode(batch))
    on = batch.segments > 0
    rows = [
        start + list(world.events.items[start:end]).index(item)
        for item, start, end in zip(
            batch.items[on], *world.events.offsets[owners[on] + [[0], [1]]], strict=True
        )
    ]
    history_ends = np.array(rows) + 1
    times = world.events.times[history_ends]
    query = Query(world.events, owners[on], history_ends, times, request_times=times)
    np.testing.assert_allclose(engine.states(query), trained[on], atol=2e-5)
    if request_time:
        without = engine.states(dataclasses.replace(query, request_times=None))
        assert np.abs(without - trained[on]).max() > 1e-4


def test_all_users_come_in_order_with_k_new_items(untrained):
    world, engine, _ = untrained
    parts = list(engine.recommend(engine.query(np.arange(world.num_users)), k=5))
    users = np.concatenate([part.users for part in parts])
    np.testing.assert_array_equal(users, np.arange(world.num_users))
    for part in parts:
        assert (np.diff(part.scores, axis=1) <= 0).all(), "best first"
        for user, items in zip(part.users, part.items, strict=True):
            start, end = world.events.offsets[user : user + 2]
            assert not set(items) & set(world.events.items[start:end])


def test_probabilities_are_those_of_the_next_event(untrained):
    world, engine, _ = untrained
    (part,) = engine.recommend(engine.query(np.arange(world.num_users)), k=world.num_items)
    total = np.where(part.exists[..., None], part.type_probabilities, 0).sum((1, 2))
    np.testing.assert_allclose(total, 1, rtol=1e-4)


def test_as_of_hides_what_came_later(untrained):
    world, engine, _ = untrained
    users = np.arange(world.num_users)
    after_all = AsOf.time(int(world.events.times.max()) + 1)
    (before,) = engine.recommend(engine.query(users, BEFORE_VALIDATION), k=3)
    (by_time,) = engine.recommend(engine.query(users, after_all), k=3)
    (now,) = engine.recommend(engine.query(users), k=3)
    (test,) = engine.recommend(engine.query(users, BEFORE_TEST), k=3)
    np.testing.assert_array_equal(by_time.items, now.items)
    assert (before.items != now.items).any()
    assert (test.items != now.items).any()


@pytest.mark.parametrize("k", [0, 41])
def test_k_must_fit_the_catalogue(untrained, k):
    _, engine, _ = untrained
    with pytest.raises(UsageError, match=r"1\.\.40"):
        next(engine.recommend(engine.query(np.arange(3)), k=k))
