"""The trainings of an update: from the parameters that serve, on new and replayed events."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from socialrec_jax.config import required
from socialrec_jax.data.batching.replay import ReplaySettings, update_starts
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.inference.capacity import (
    padded_model,
    padded_params,
    padded_rows,
    without_padding,
)
from socialrec_jax.inference.load import Loaded, about, focus_of
from socialrec_jax.pipeline.retriever import retriever_trainer, training_batches
from socialrec_jax.pipeline.update_inputs import with_few_checkpoints
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import Batches, StageProgress, fit, whole_calls
from socialrec_jax.training.retriever import RetrieverTrainer

UPDATE = "update"  # the stage that is compared with the model before


def train_update(
    run: RunDirectory, stage: str, old: Loaded, new_rows: np.ndarray, history_ends: np.ndarray
) -> Loaded | None:
    """The model after it has learnt the new events before history_ends [U], and replayed ones.

    old: the model that serves, grown. new_rows [n]: the events that it has not learnt. None where
    there is nothing to learn.
    """
    batches = _batches(old, new_rows, history_ends)
    passes = old.config.update.epochs
    if not passes or not batches.targets_per_epoch:
        return None
    # A new schedule: warm-up and decay belong to this update alone.
    steps = batches.steps_per_epoch * passes
    num_steps = whole_calls(steps, old.config.train.steps_per_call)
    trainer = dataclasses.replace(_trainer(old, batches), num_steps=num_steps)
    # There is no validation: the caller compares the last state with the model before.
    explained = about(old.config, old.world)
    option = "--update.learning-rate-share"
    state, _ = fit(run, stage, *_on_devices(trainer, batches), None, explained, option)
    params = without_padding(state.served, old.model)
    known = trainer.known[: old.world.num_items]
    # The caller gives both models the same counts, so that only the parameters differ.
    return dataclasses.replace(old, params=params, known=known, features=None)


def _batches(old: Loaded, new_rows: np.ndarray, history_ends: np.ndarray) -> TrainingBatches:
    update = old.config.update
    settings = ReplaySettings(
        per_new_event=update.replay,
        half_life=update.replay_half_life,
        row_length=required(old.config.model.history_length),
        seed=old.config.seed,
    )
    starts = update_starts(old.world.events, history_ends, new_rows, settings)
    return training_batches(old.world, old.config, history_ends, starts)


def _trainer(old: Loaded, batches: TrainingBatches) -> RetrieverTrainer:
    """Fine-tuning from the model that serves, on the event types that it was trained for."""
    trainer = dataclasses.replace(
        retriever_trainer(old.world, with_few_checkpoints(old.config), batches, old.texts),
        focus=focus_of(old.config, old.world),
        # On the host: the trainer places them where its state lies.
        start=jax.tree.map(np.asarray, old.params),
        peak_share=old.config.update.learning_rate_share,
    )
    # Negatives are drawn from the whole table, and big tables are trained row by row.
    is_padded = not (old.config.train.negatives or trainer.big_tables)
    return _with_padding(trainer, old) if is_padded else trainer


def _with_padding(trainer: RetrieverTrainer, old: Loaded) -> RetrieverTrainer:
    """The same training with tables that serve the next appends: nothing is compiled for them."""
    model = padded_model(trainer.model, old.world)
    assert trainer.start is not None, "an update goes on from parameters"
    return dataclasses.replace(
        trainer,
        model=model,
        item_counts=padded_rows(trainer.item_counts, model.num_items),
        texts=padded_rows(old.texts, model.num_items),
        start=padded_params(trainer.start, model),
        num_items=old.world.num_items,
    )


def _on_devices(
    trainer: RetrieverTrainer, batches: TrainingBatches
) -> tuple[RetrieverTrainer, Batches]:
    """As `placed`; where the tables are padded, the events on the devices are, too."""
    trainer, steps = placed(trainer, batches)
    if trainer.num_items is None or trainer.columns is None:
        return trainer, steps
    # No index reads behind the last event. Events are small and grow fast: a power of two.
    size = 1 << (len(trainer.columns.items) - 1).bit_length()
    columns = jax.tree.map(lambda column: padded_rows(column, size), trainer.columns)
    return dataclasses.replace(trainer, columns=columns), steps


def save_untrained(run: RunDirectory, stage: str, grown: Loaded) -> None:
    """Save parameters as a finished stage, so that the run opens with them."""
    batches = training_batches(grown.world, grown.config, grown.world.history_ends())
    trainer = _trainer(grown, batches)
    # Initial averages are the parameters themselves, and averages serve.
    state = trainer.init(batches.at(0))
    progress = StageProgress(best_step=1, finished=True, steps=1)
    checkpoints = Checkpoints(run.checkpoints / stage, about(grown.config, grown.world))
    checkpoints.save(1, state, dataclasses.asdict(progress), keep={1})
    processes.barrier()
