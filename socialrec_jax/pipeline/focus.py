"""The focus stage: the retriever, fine-tuned on the event types that pay."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.inference.load import FOCUS, about, focus_of
from socialrec_jax.pipeline.retriever import retriever_trainer, training_batches, validation
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import StageProgress, fit, whole_calls
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.state import TrainState

_FOCUS_SHARE = 0.25  # of the steps of the whole training, for fine-tuning


def focus_retriever(
    run: RunDirectory, world: World, config: Config, texts: np.ndarray, state: TrainState
) -> tuple[TrainState, StageProgress | None]:
    """Fine-tune the retriever from state; without a focus it stays as it is."""
    if not config.train.focus:
        return state, None
    return _fine_tune(run, world, config, texts, state)


@timeline.stage("focus")
def _fine_tune(
    run: RunDirectory, world: World, config: Config, texts: np.ndarray, state: TrainState
) -> tuple[TrainState, StageProgress]:
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    trainer = retriever_trainer(world, config, batches, texts)
    # The averaged parameters are those that were validated, so they are what is fine-tuned.
    trainer = fine_tuned(trainer, world, state.served)
    validate = validation(world, config, trainer, texts)
    return fit(run, FOCUS, *placed(trainer, batches), validate, about(config, world))


def fine_tuned(trainer: RetrieverTrainer, world: World, start: dict) -> RetrieverTrainer:
    """A short training from the parameters start on the event types that pay."""
    steps = round(trainer.num_steps * _FOCUS_SHARE)
    return dataclasses.replace(
        trainer,
        num_steps=whole_calls(steps, trainer.config.train.steps_per_call),
        focus=focus_of(trainer.config, world),
        # On the host: the trainer places them where its state lies.
        start=jax.tree.map(np.asarray, start),
    )
