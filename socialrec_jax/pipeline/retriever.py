"""The retriever stage: the sequence model, trained on the training part and selected on the
validation part.
"""

from __future__ import annotations

import functools
import logging

import jax
import numpy as np

from socialrec_jax.config import Config, required
from socialrec_jax.data.batching.friend_sampler import FriendSampler
from socialrec_jax.data.batching.social_positions import SocialPositions
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.query import friend_sampler_of
from socialrec_jax.data.world import BEFORE_VALIDATION, VALIDATION, World
from socialrec_jax.errors import UsageError
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.evaluator import RetrieverEvaluator
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import (
    RETRIEVER,
    about,
    focus_of,
    items_with_events,
    model_for,
    uses_friends,
    wanted_types,
)
from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import StageProgress, Validate, calls, fit, whole_calls
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.state import TrainState

log = logging.getLogger(__name__)
_VALIDATED_USERS = 10_000  # at most: many validations wait for their evaluation


@timeline.stage("retriever")
def train_retriever(
    run: RunDirectory, world: World, config: Config, texts: np.ndarray
) -> tuple[TrainState, StageProgress]:
    """Train the retriever, or go on from its newest checkpoint; texts [V, F]: vectors of items."""
    # The training part: all events before each user's validation part.
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    if not batches.targets_per_epoch:
        raise UsageError(
            f"{run.path}: nobody has two events before the {config.split} split: "
            "there is nothing to learn"
        )
    trainer = retriever_trainer(world, config, batches, texts)
    validate = validation(world, config, trainer, texts)
    return fit(run, RETRIEVER, *placed(trainer, batches), validate, about(config, world))


def compile_ahead(run: RunDirectory, world: World, config: Config, width: int) -> None:
    """Compile the training's step before texts [V, width] are there; nothing of it runs.

    A run that goes on with this training compiles it itself. So do several processes, since they
    compile together.
    """
    if Checkpoints(run.checkpoints / RETRIEVER).steps() or parallel.process()[1] > 1:
        return
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    if not batches.targets_per_epoch:
        return
    texts = np.zeros((world.num_items, width), np.float32)
    trainer, given = placed(retriever_trainer(world, config, batches, texts), batches)
    # The state and the first call say all shapes.
    first = calls(given, 0, 1, config.train.steps_per_call, parallel.process())
    try:
        trainer.compile_guarded().compile(trainer.init(given.at(0)), next(first))
    except jax.errors.JaxRuntimeError as error:
        log.info("the retriever's step is compiled when it is needed: %s", error)


@timeline.stage("retriever")
def engine_of(world: World, config: Config, texts: np.ndarray, state: TrainState) -> Engine:
    """An engine with the parameters of a training state."""
    model = model_for(config, world, texts.shape[1])
    # The averaged parameters serve. Ids without training events are not learnt.
    known = items_with_events(world, world.history_ends(BEFORE_VALIDATION))
    return Engine.create(world, config, model, state.served, texts=texts, known=known)


def training_batches(
    world: World, config: Config, history_ends: np.ndarray, starts: np.ndarray | None = None
) -> TrainingBatches:
    """The events from starts [U] (by default all) to history_ends [U] in steps, with friends where
    the model uses them.
    """
    social_positions = None
    if uses_friends(config, world):
        # Friends' events count up to the same ends: what is held out stays hidden.
        friend_sampler = FriendSampler(world.events, world.friends, history_ends, seed=config.seed)
        social_positions = SocialPositions(
            friend_sampler, config.model.social_queries, config.model.request_time
        )
    return TrainingBatches(
        world.events,
        history_ends,
        world.first_time,
        required(config.model.history_length),
        rows_per_step(config),
        config.seed,
        social_positions,
        starts,
    )


def rows_per_step(config: Config) -> int:
    """B over all devices: a multiple of the parts that a step is computed in, at least one each."""
    # Every part of a step, on every device, has the same number of rows.
    rows = required(config.train.tokens_per_step) // required(config.model.history_length)
    parts = parallel.num_devices() * config.train.accumulation
    return max(1, round(rows / parts)) * parts


def retriever_trainer(
    world: World, config: Config, batches: TrainingBatches, texts: np.ndarray
) -> RetrieverTrainer:
    """The trainer for all epochs of these batches."""
    # Half of the negatives follow the items' training events, hence item_counts.
    steps = batches.steps_per_epoch * required(config.train.epochs)
    num_steps = whole_calls(steps, config.train.steps_per_call)
    model = model_for(config, world, texts.shape[1])
    item_counts, types = batches.item_counts(world.num_items), wanted_types(config, world)
    return RetrieverTrainer(config, model, num_steps, item_counts, texts, focus=types)


def validation(
    world: World, config: Config, trainer: RetrieverTrainer, texts: np.ndarray
) -> Validate | None:
    """The metrics of parameters on the validation part; None where the split left nobody there."""
    queries = protocol.held_out(world, VALIDATION, focus_of(config, world))
    if not len(queries):
        return None
    num_users = min(config.evaluation.users, _VALIDATED_USERS)
    queries = queries.sample_of_users(num_users, config.seed)
    # All engines of the World share one sampler; other parameters make another engine.
    create = functools.partial(
        Engine.create,
        world,
        config,
        trainer.model,
        texts=texts,
        known=trainer.known,
        friend_sampler=friend_sampler_of(world, config.seed),
    )
    return RetrieverEvaluator(create, queries).run
