"""--train.focus: training, evaluation and recommendations are about the events that pay."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import BEFORE_TEST, NOW, TEST, World
from socialrec_jax.errors import UsageError
from socialrec_jax.evaluation import protocol
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import FOCUS, REFIT_FOCUS, focus_of
from socialrec_jax.pipeline.focus import focus_retriever
from socialrec_jax.pipeline.ranker import train_ranker
from socialrec_jax.pipeline.refit import RetrieverProgress, refit
from socialrec_jax.pipeline.retriever import engine_of, train_retriever
from socialrec_jax.pipeline.run import open_world
from socialrec_jax.pipeline.settings import write_auto_config
from socialrec_jax.pipeline.text import item_features
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.run import RunDirectory


@pytest.fixture(scope="module")
def focused(tmp_path_factory, short_ranker_training) -> tuple[RunDirectory, World]:
    """A small finished run on what is bought, without texts and friends."""
    folder = tmp_path_factory.mktemp("focus")
    write_tables(folder / "shop", num_users=300, num_items=100, events_per_user=12, seed=2)
    for table in ("items", "social"):
        (folder / "shop" / f"{table}.parquet").unlink()
    run = RunDirectory(folder / "run")
    config = Config(
        model=ModelConfig(width=16, num_layers=1),
        train=TrainConfig(focus=("buy",), epochs=2, evaluations=2),
    )
    with run.lock():
        world = open_world(run, folder / "shop", config)
        config = write_auto_config(run, config, world)
        none = item_features(run, world, config)
        state, progress = train_retriever(run, world, config, none)
        state, focus = focus_retriever(run, world, config, none, state)
        ranker = train_ranker(run, engine_of(world, config, none, state))
        refit(run, world, config, none, RetrieverProgress(progress, focus), ranker)
    return run, world


def test_the_focused_model_is_fine_tuned_evaluated_and_refitted(focused):
    run, world = focused
    assert Checkpoints(run.checkpoints / FOCUS).best_step()
    assert Checkpoints(run.checkpoints / REFIT_FOCUS).best_step()
    bought = protocol.held_out(world, TEST, focus_of(run.config(), world))
    types = world.events.types[bought.target_rows]
    assert len(bought)
    assert {world.event_types[t] for t in np.unique(types)} == {"buy"}


@pytest.mark.parametrize("as_of", [BEFORE_TEST, NOW])
def test_recommendations_are_sorted_by_what_pays(focused, as_of):
    run, world = focused
    engine = Engine.load(run.path, as_of)
    parts = list(engine.recommend(engine.query(np.arange(50), as_of), k=10))
    buys = np.concatenate(
        [part.type_probabilities[..., world.event_types.index("buy")] for part in parts]
    )
    assert np.all(np.diff(buys, axis=1) <= 1e-7)


def test_an_unknown_event_type_is_named(focused):
    run, world = focused
    config = dataclasses.replace(
        run.config(), train=dataclasses.replace(run.config().train, focus=("purchase",))
    )
    with pytest.raises(UsageError, match="the event types here are"):
        focus_of(config, world)
