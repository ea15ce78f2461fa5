"""The retriever's stage: the sequence model, trained on the training part and selected on the
validation part.
"""

from __future__ import annotations

import numpy as np

from socialrec_jax.config import Config, required
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.batching.social_positions import SocialPositions
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.world import VALIDATION, World
from socialrec_jax.errors import UsageError
from socialrec_jax.evaluation import protocol
from socialrec_jax.inference.engine import Recommender
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
    batches = training_batches(world, config, world.history_ends(VALIDATION))
    if not batches.targets_per_epoch:
        raise UsageError(
            f"{run.path}: nobody has two events before the {config.split} split: there is nothing to learn"
        )
    trainer = retriever_trainer(world, config, batches, texts)
    validate = validator(world, config, trainer, texts)
    return fit(run, RETRIEVER, *placed(trainer, batches), validate, about(config, world))


def recommender_of(
    world: World, config: Config, texts: np.ndarray, state: TrainState
) -> Recommender:
    """The judged retriever at work."""
    recommender = Recommender(world, config, model_for(config, world, texts.shape[1]), texts)
    return recommender.use(state.served, items_with_events(world, world.history_ends(VALIDATION)))


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
    recommender = Recommender(world, config, trainer.model, texts)

    def validate(params: dict) -> dict[str, float]:
        return evaluate_retriever(
            recommender.use(params, trainer.known), queries, VALIDATION
        ).metrics

    return validate


def evaluate_retriever(
    recommender: Recommender, queries: protocol.EvaluationQueries, part: int
) -> protocol.EvaluationResult:
    """The retriever's ranking of the held-out items."""
    states, _ = query_states(recommender, queries, part)
    return protocol.evaluate(recommender.index, recommender.shared(part), states, queries)


def query_states(recommender: Recommender, queries: protocol.EvaluationQueries, part: int):
    """The users' states [Q, D] and questions as they stood before a held-out part."""
    events = recommender.world.events
    query = events.times[
        queries.target_rows[queries.targets.offsets[:-1]]
    ]  # seen by models with request_time only
    query_times = query if recommender.config.model.request_time else queries.query_times
    states = recommender.states(
        events, queries.users, queries.history_ends, query, query_times=query_times, as_of=part
    )
    return states, recommender.query(events, queries.users, queries.history_ends, query_times, part)
