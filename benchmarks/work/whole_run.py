"""The stages of a training as `pipeline/run.py` has them, with few steps of the retriever."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from benchmarks.work.ablations import without_text
from socialrec_jax.config import Config
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.inference.artefacts import write_record
from socialrec_jax.inference.load import RETRIEVER, about, trained_stages
from socialrec_jax.pipeline.evaluate import complete_report, evaluate
from socialrec_jax.pipeline.ranker import train_ranker
from socialrec_jax.pipeline.refit import RetrieverProgress, refit
from socialrec_jax.pipeline.retriever import (
    engine_of,
    retriever_trainer,
    training_batches,
    validation,
)
from socialrec_jax.pipeline.run import prepare_data
from socialrec_jax.pipeline.text import item_features
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training.device_data import placed
from socialrec_jax.training.loop import StageProgress, fit, whole_calls
from socialrec_jax.training.state import TrainState


def train_some_steps(
    run: RunDirectory, tables: Path, config: Config, steps: int, has_texts: bool = True
) -> dict:
    """Train on raw tables with at most so many steps of the retriever; returns the report.

    has_texts: whether products keep their texts.
    """
    world, config = prepare_data(run, tables, config)
    if not has_texts:
        world = without_text(world)
    texts = item_features(run, world, config)
    state, progress = _train_retriever(run, world, config, texts, steps)
    engine = engine_of(world, config, texts, state)
    ranker = train_ranker(run, engine)
    report = evaluate(run, engine, progress, ranker)
    # It takes as many steps as the evaluated training.
    refit(run, world, config, texts, RetrieverProgress(progress), ranker)
    write_record(run, trained_stages(config, ranker is not None))
    return complete_report(run, report)


@timeline.stage("retriever")
def _train_retriever(
    run: RunDirectory, world: World, config: Config, texts: np.ndarray, steps: int
) -> tuple[TrainState, StageProgress]:
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    whole = retriever_trainer(world, config, batches, texts)
    few = min(whole_calls(steps, config.train.steps_per_call), whole.num_steps)
    trainer = dataclasses.replace(whole, num_steps=few, horizon=whole.num_steps)
    print(f"the retriever takes {few} of {whole.num_steps} steps of an epoch", flush=True)
    validate = validation(world, config, trainer, texts)
    return fit(run, RETRIEVER, *placed(trainer, batches), validate, about(config, world))
