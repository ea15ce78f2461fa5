"""Nothing compiles twice: evaluation runs what validation compiled, and the number of users hardly
matters.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.world import BEFORE_VALIDATION, NOW, VALIDATION
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.evaluator import evaluate_retriever
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import model_for
from socialrec_jax.pipeline.retriever import compile_ahead, retriever_trainer, training_batches
from socialrec_jax.pipeline.text import features_width
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import calls
from tests.worlds import random_world

CONFIG = Config(
    model=ModelConfig(width=16, num_layers=1, history_length=16, dropout=0.0),
    train=TrainConfig(tokens_per_step=64, epochs=2),
)
COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: (
        COMPILED.append(event) if event.endswith("backend_compile_duration") else None
    )
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return random_world(tmp_path_factory.mktemp("world"))


def engine_of(world, seed: int) -> Engine:
    model = model_for(CONFIG, world)
    batch = training_batches(world, CONFIG, world.history_ends(BEFORE_VALIDATION)).at(0)
    variables = jax.jit(model.init)(jax.random.key(seed), batch)
    params = jax.tree.map(np.asarray, variables["params"])
    return Engine.create(world, CONFIG, model, params)


def everything(engine: Engine, queries: protocol.EvaluationQueries) -> protocol.EvaluationResult:
    """All that an engine does on devices; returns its evaluation."""
    query = engine.with_friends(queries.query)
    engine.next_actions(engine.states(query), query)
    list(engine.recommend(engine.query(queries.users), k=3))
    return evaluate_retriever(engine, queries)


def train_one_call(world, config: Config, history_ends) -> None:
    batches = training_batches(world, config, history_ends)
    trainer = retriever_trainer(world, config, batches, np.zeros((world.num_items, 0), np.float32))
    trainer, batches = placed(trainer, batches)
    steps = calls(batches, 0, config.train.steps_per_call, config.train.steps_per_call, (0, 1))
    trainer.compile()(trainer.init(batches.at(0)), next(steps))


def test_trainings_of_one_model_share_their_programs(world):
    """The refit has other events and another number of steps than the training before it."""
    before = len(COMPILED)
    train_one_call(world, CONFIG, world.history_ends(BEFORE_VALIDATION))
    first = len(COMPILED) - before
    assert 0 < first <= 4, "two for a random key, the initialisation, and the steps"

    for config in (CONFIG, dataclasses.replace(CONFIG, seed=3)):
        train_one_call(world, config, world.history_ends(NOW))
    assert len(COMPILED) - before == first


def test_a_step_that_was_compiled_ahead_is_not_compiled_again(world, tmp_path):
    """Also from another thread, and from vectors of texts that are not there yet."""
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, width=24))
    arguments = RunDirectory(tmp_path), world, config, features_width(world, config)
    with ThreadPoolExecutor(1) as executor:
        executor.submit(compile_ahead, *arguments).result()
    before = len(COMPILED)
    train_one_call(world, config, world.history_ends(BEFORE_VALIDATION))
    assert len(COMPILED) == before


def test_a_second_engine_compiles_nothing(world):
    queries, (validating, evaluating) = (
        protocol.held_out(world, VALIDATION),
        (engine_of(world, s) for s in (0, 1)),
    )
    first = everything(validating, queries)
    before = len(COMPILED)
    second = everything(evaluating, queries)
    assert len(COMPILED) == before
    assert not np.array_equal(first.ranks, second.ranks), "each has its own parameters"


def test_numbers_of_users_share_programs(world):
    serving, counts = engine_of(world, 0), []
    for number in (32, 31, 30, 29, 28):
        parts = list(serving.recommend(serving.query(np.arange(number)), k=3))
        assert sum(len(part.users) for part in parts) == number
        counts.append(len(COMPILED))
    assert len(set(counts)) == 1, "only the first may compile"
