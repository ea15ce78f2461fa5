"""The focus stage: the retriever fine-tuned on the event types that pay."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.inference.load import (
    FOCUS,
    about,
    focus_of,
)
from socialrec_jax.pipeline.retriever import retriever_trainer, training_batches, validator
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import StageProgress, fit, whole_calls
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.state import TrainState

_FOCUS_SHARE = 0.25  # of the steps of the whole training, for fine-tuning


def focus_retriever(
    run: RunDirectory, world: World, config: Config, texts: np.ndarray, state: TrainState
) -> tuple[TrainState, StageProgress | None]:
    """The retriever fine-tuned on the events that pay; as it is without a focus."""
    if not config.train.focus:
        return state, None
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    trainer = fine_tuned(retriever_trainer(world, config, batches, texts), world, state.served)
    return fit(
        run,
        FOCUS,
        *placed(trainer, batches),
        validator(world, config, trainer, texts),
        about(config, world),
    )


def fine_tuned(trainer: RetrieverTrainer, world: World, start: dict) -> RetrieverTrainer:
    """A short training from start on the events that pay."""
    num_steps = whole_calls(
        round(trainer.num_steps * _FOCUS_SHARE), trainer.config.train.steps_per_call
    )
    start = jax.tree.map(np.asarray, start)
    return dataclasses.replace(
        trainer, num_steps=num_steps, focus=focus_of(trainer.config, world), start=start
    )
