"""Nothing compiles twice: evaluation runs what validation compiled, and the number of users hardly
matters.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.world import VALIDATION
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.evaluator import evaluate_retriever, query_states
from socialrec_jax.inference.engine import Recommender
from socialrec_jax.inference.load import model_for
from socialrec_jax.pipeline.retriever import training_batches
from tests.worlds import random_world

CONFIG = Config(
    model=ModelConfig(width=16, num_layers=1, history_length=16, dropout=0.0),
    train=TrainConfig(tokens_per_step=64),
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


def recommender(world, seed: int) -> Recommender:
    model = model_for(CONFIG, world)
    fresh = Recommender(world, CONFIG, model)
    batch = training_batches(world, CONFIG, world.history_ends(VALIDATION)).at(0)
    return fresh.use(jax.tree.map(np.asarray, model.init(jax.random.key(seed), batch)["params"]))


def everything(
    recommender: Recommender, queries: protocol.EvaluationQueries
) -> protocol.EvaluationResult:
    """All that a recommender does on devices; returns its evaluation."""
    recommender.next_actions(*query_states(recommender, queries, VALIDATION))
    list(recommender.recommend(queries.users, k=3))
    return evaluate_retriever(recommender, queries, VALIDATION)


def test_a_second_recommender_compiles_nothing(world):
    queries, (validating, evaluating) = (
        protocol.held_out(world, VALIDATION),
        (recommender(world, s) for s in (0, 1)),
    )
    first = everything(validating, queries)
    before = len(COMPILED)
    second = everything(evaluating, queries)
    assert len(COMPILED) == before
    assert not np.array_equal(first.ranks, second.ranks), "each has its own parameters"


def test_numbers_of_users_share_programs(world):
    serving, counts = recommender(world, 0), []
    for number in (32, 31, 30, 29, 28):
        parts = list(serving.recommend(np.arange(number), k=3))
        assert sum(len(part.users) for part in parts) == number
        counts.append(len(COMPILED))
    assert len(set(counts)) == 1, "only the first may compile"
