"""An evaluator gives the training loop the metrics that the evaluation gives the report."""

from __future__ import annotations

import jax
import numpy as np

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.world import VALIDATION
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.evaluator import RetrieverEvaluator, evaluate_retriever
from socialrec_jax.inference.engine import Recommender
from socialrec_jax.inference.load import model_for
from socialrec_jax.pipeline.retriever import training_batches

CONFIG = Config(
    model=ModelConfig(width=16, num_layers=1, history_length=16, dropout=0.0),
    train=TrainConfig(tokens_per_step=64),
)


def test_metrics_follow_the_given_parameters(world):
    model = model_for(CONFIG, world)
    batch = training_batches(world, CONFIG, world.history_ends(BEFORE_VALIDATION)).at(0)
    init = jax.jit(lambda key: model.init(key, batch)["params"])
    first, second = (init(jax.random.key(seed)) for seed in (0, 1))

    queries = protocol.held_out(world, VALIDATION)
    known = np.ones(world.num_items, bool)
    evaluator = RetrieverEvaluator(Recommender(world, CONFIG, model), known, queries, VALIDATION)
    alone = Recommender(world, CONFIG, model).use(second, known)
    expected = evaluate_retriever(alone, queries, VALIDATION).metrics

    assert evaluator.run(first) != expected
    assert evaluator.run(second) == expected
