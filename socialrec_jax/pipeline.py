"""The stages of a run in their order; the only library file that sees every room.

train.py tells the same story to a reader, and a notebook can call these functions alike.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.batches import TrainingBatches
from socialrec_jax.data.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import NOW, TEST, VALIDATION, World
from socialrec_jax.environment import environment
from socialrec_jax.errors import BadData
from socialrec_jax.evaluation import metrics, protocol
from socialrec_jax.evaluation.baselines import fit_baselines
from socialrec_jax.evaluation.report import write_report
from socialrec_jax.run import RunDirectory, write_atomically
from socialrec_jax.serving.index import dense_index
from socialrec_jax.serving.load import RETRIEVER, model_for
from socialrec_jax.serving.recommend import Recommender
from socialrec_jax.serving.writer import table_writer
from socialrec_jax.training.fit import Standing, fit, whole_calls
from socialrec_jax.training.step import Trainer, TrainState


def sample_tables(run: RunDirectory, seed: int) -> Path:
    """The embedded synthetic shop, written once into the run directory."""
    folder = run.path / "sample"
    if not (folder / "events.parquet").exists():
        write_tables(folder, seed=seed)
    return folder


def open_world(run: RunDirectory, source: Path | None, config: Config) -> World:
    """Prepare source into the run, or open what stands there when source is None.

    Raises BadData when the run was trained on other data.
    """
    if source is None:
        return World.open(run.world)
    before = _world_hash(run)
    world = prepare(source, run.world, config.data, config.split)
    if before not in (None, world.manifest["hash"]) and any(run.checkpoints.glob("*/*")):
        raise BadData(f"{run.path} was trained on other data than {source}: choose another --run")
    return world
