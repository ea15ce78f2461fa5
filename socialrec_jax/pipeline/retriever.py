"""The retriever's stage: the sequence model, trained on the training part and selected on the
validation part.
"""

from __future__ import annotations

import numpy as np

from socialrec_jax.config import Config, required
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.batching.social_positions import SocialPositions
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.query import friend_sampler_of
from socialrec_jax.data.world import BEFORE_VALIDATION, VALIDATION, World
from socialrec_jax.errors import UsageError
from socialrec_jax.evaluation import protocol
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import (
    RETRIEVER,
    about,
    focus_of,
    items_with_events,
    model_for,
    uses_friends,
)
from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import StageProgress, Validate, fit, whole_calls
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.state import TrainState


def train_retriever(
    run: RunDirectory, world: World, config: Config, texts: np.ndarray
) -> tuple[TrainState, StageProgress]:
    """The behavior model, trained on the training part and selected on the validation part."""
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    if not batches.targets_per_epoch:
        raise UsageError(
            f"{run.path}: nobody has two events before the {config.split} split: there is nothing to learn"
        )
    trainer = retriever_trainer(world, config, batches, texts)
    validate = validator(world, config, trainer, texts)
    return fit(run, RETRIEVER, *placed(trainer, batches), validate, about(config, world))


def engine_of(world: World, config: Config, texts: np.ndarray, state: TrainState) -> Engine:
    """The judged retriever at work."""
    model = model_for(config, world, texts.shape[1])
    known = items_with_events(world, world.history_ends(BEFORE_VALIDATION))
    return Engine.create(world, config, model, state.served, texts=texts, known=known)


def training_batches(world: World, config: Config, history_ends: np.ndarray) -> TrainingBatches:
    """The events before ends [U] in steps, with friends where the model has a part for them."""
    social_positions = None
    if uses_friends(config, world):
        friend_sampler = FriendSampler(world.events, world.friends, history_ends, seed=config.seed)
        social_positions = SocialPositions(
            friend_sampler, config.model.social_queries, config.model.request_time
        )
    row_length = required(config.model.history_length)
    rows = rows_per_step(config)
    return TrainingBatches(
        world.events,
        history_ends,
        world.first_time,
        row_length,
        rows,
        config.seed,
        social_positions,
    )


def retriever_trainer(
    world: World, config: Config, batches: TrainingBatches, texts: np.ndarray
) -> RetrieverTrainer:
    t = config.train
    num_steps = whole_calls(batches.steps_per_epoch * required(t.epochs), t.steps_per_call)
    model = model_for(config, world, texts.shape[1])
    return RetrieverTrainer(config, model, num_steps, batches.item_counts(world.num_items), texts)


def rows_per_step(config: Config) -> int:
    """B over all devices: at least one row each in every part of a step, and the same number."""
    rows = required(config.train.tokens_per_step) // required(config.model.history_length)
    parts = parallel.num_devices() * config.train.accumulation
    return max(1, round(rows / parts)) * parts


def validator(
    world: World, config: Config, trainer: RetrieverTrainer, texts: np.ndarray
) -> Validate | None:
    """Metrics of parameters on the validation part; None when the split left nobody to validate
    on.
    """
    queries = protocol.held_out(world, VALIDATION, focus_of(config, world))
    if not len(queries):
        return None
    friend_sampler = friend_sampler_of(world, config.seed)

    def validate(params: dict) -> dict[str, float]:
        engine = Engine.create(
            world,
            config,
            trainer.model,
            params,
            texts=texts,
            known=trainer.known,
            friend_sampler=friend_sampler,
        )
        return evaluate_retriever(engine, queries).metrics

    return validate


def evaluate_retriever(
    engine: Engine, queries: protocol.EvaluationQueries
) -> protocol.EvaluationResult:
    """The retriever's ranking of the held-out items."""
    query = engine.with_friends(queries.query)
    inputs = engine.index_inputs(query.as_of)
    return protocol.evaluate(engine.index, inputs, engine.states(query), queries)
