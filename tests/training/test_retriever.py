"""Training learns a planted pattern that co-occurrence does not show, and compiles once."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.world import BEFORE_VALIDATION, TEST, World
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.evaluator import evaluate_retriever
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import model_for
from socialrec_jax.pipeline.retriever import training_batches
from socialrec_jax.runtime import parallel
from socialrec_jax.training.retriever import RetrieverTrainer
from tests.worlds import copying_world, cyclic_world, with_friends


def trained(world, negatives: int, steps: int = 160, **settings):
    """(state, config, model, compilations) after some steps of 4 a call."""
    config = Config(
        model=ModelConfig(width=32, history_length=8, dropout=0.1, **settings),
        train=TrainConfig(
            tokens_per_step=256, learning_rate=2e-2, negatives=negatives, ema_decay=0.9
        ),
    )
    batches, model = (
        training_batches(world, config, world.history_ends(BEFORE_VALIDATION)),
        model_for(config, world),
    )
    trainer = RetrieverTrainer(config, model, steps, batches.item_counts(world.num_items))
    compilations = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: (
            compilations.append(event) if event.endswith("backend_compile_duration") else None
        )
    )
    call, state, after_first = trainer.compile(), trainer.init(batches.at(0)), 0
    for first in range(0, steps, 4):
        parts = [parallel.split_over_devices(batches.at(first + k)) for k in range(4)]
        state, _ = call(state, jax.tree.map(lambda *leaves: np.stack(leaves, 1), *parts))
        after_first = after_first or len(compilations)
    return state, config, model, len(compilations) - after_first


@pytest.mark.parametrize("negatives", [0, 16], ids=["full", "sampled"])
def test_a_planted_second_order_pattern_is_learnt(tmp_path, negatives):
    world = cyclic_world(tmp_path, num_users=600)
    state, config, model, more_compilations = trained(world, negatives)
    assert more_compilations == 0, "only the first call may compile"
    engine = Engine.create(world, config, model, state.average)
    queries = protocol.held_out(world, TEST)
    found = evaluate_retriever(engine, queries)
    assert found.metrics["hr@10"] > 0.95
    # The next item is one of two strides: knowing only the last item, rank 1 is right for half of
    # the users.
    assert (found.ranks == 1).mean() > 0.8


def test_what_friends_do_is_learnt_from_friends(tmp_path):
    """A follower copies the leader, and the same model knows little without seeing the leader."""
    world = copying_world(tmp_path)
    state, config, model, more_compilations = trained(world, 0, num_layers=1, social_queries=2)
    assert more_compilations == 0
    queries = protocol.held_out(world, TEST)
    followers = queries.part(np.flatnonzero(queries.users >= 300))

    def accuracy(world: World) -> float:
        engine = Engine.create(world, config, model, state.average)
        return evaluate_retriever(engine, followers).metrics["ndcg@10"]

    seen, unseen = accuracy(world), accuracy(with_friends(world, []))
    assert seen > 0.85
    assert seen > unseen + 0.25
