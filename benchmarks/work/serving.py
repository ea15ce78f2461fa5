"""From histories to ranked lists with reasons: encoder, search, features, ranker."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness.cases import Work, WrongResult, expect_close
from benchmarks.harness.workloads import CATALOGUES
from benchmarks.work.rankers import INTERACTIONS, random_labelled_candidates, ranker_params
from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import NOW, World
from socialrec_jax.inference.engine import Recommender
from socialrec_jax.inference.load import model_for
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.pipeline.retriever import training_batches
from socialrec_jax.runtime import parallel

_K = 10


def end_to_end(num_users: int) -> Work:
    """Top 10 of every user of a sample shop."""
    world = sample_world(num_users)
    recommender = untrained_recommender(world)
    users = np.arange(world.num_users)

    def call(_) -> tuple[np.ndarray, np.ndarray]:
        return _recommend(recommender, users)

    return Work(
        call=call,
        carry=None,
        check=lambda carry: _check(world, recommender, *carry),
        unit="users",
        units_per_call=world.num_users,
        on_host=True,
        devices=parallel.num_devices(),
    )


def _recommend(recommender: Recommender, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(items [Q, k], scores [Q, k])."""
    lists = list(recommender.recommend(users, k=_K))
    items = np.concatenate([part.items for part in lists])
    scores = np.concatenate([part.scores for part in lists])
    return items, scores


def _check(world: World, recommender: Recommender, items: np.ndarray, scores: np.ndarray) -> None:
    """Some users by themselves get the same scores, and nobody gets what they had."""
    # Every 37th user, which is enough to find a mistake in the chunks.
    some = np.arange(world.num_users)[::37]
    _, expected = _recommend(recommender, some)
    expect_close("scores of some users by themselves", scores[some], expected, 1e-3)
    users = np.arange(world.num_users)
    histories = world.events.histories(users, world.history_ends(NOW))
    for user in some.tolist():
        history = histories.part(user, user + 1).items
        if np.isin(history, items[user]).any():
            raise WrongResult("an item of the history was recommended again")


def sample_world(num_users: int) -> World:
    """The sample shop with so many users, through its tables."""
    folder = Path(tempfile.mkdtemp(prefix="shop-"))
    write_tables(folder / "tables", num_users=num_users, num_items=max(120, num_users // 10))
    # It goes through the files, so that columns are memory maps as they are when serving.
    return prepare(folder / "tables", folder / "world", Config().data, "leave-one-out")


def untrained_recommender(world: World) -> Recommender:
    """It takes as long as a trained one."""
    config = Config(
        model=ModelConfig(width=64, history_length=64, dropout=0.0),
        train=TrainConfig(tokens_per_step=1024, steps_per_call=1, negatives=0),
    )
    model = model_for(config, world)
    example = training_batches(world, config, world.history_ends(NOW)).at(0)
    params: dict = jax.jit(model.init)(jax.random.key(0), example)["params"]
    recommender = Recommender(world, config, model).use(params)
    # Counted from all events, as they are before a shop serves.
    features = RankerFeatures.fit(world, world.history_ends(NOW), ItemKNNSettings())
    ranker = Ranker(model.num_event_types, INTERACTIONS)
    catalogue = jnp.asarray(recommender.catalogue)
    return recommender.rank_with(features, _params_for(ranker, catalogue))


def _params_for(ranker: Ranker, catalogue: jax.Array) -> dict:
    """Parameters of a ranker over a catalogue [V, D]."""
    num_items, width = catalogue.shape
    sizes = dataclasses.replace(CATALOGUES["catalogue-1m-tiny"], width=width, items=num_items)
    # Parameters depend on the sizes alone, so a few candidates are enough to make them.
    labelled = random_labelled_candidates(2, 4, sizes, np.random.default_rng(0))
    return ranker_params(ranker, labelled.candidates, catalogue)
