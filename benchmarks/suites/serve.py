"""How many users a second: search by size of the catalogue and k, ranking, and everything from
history to list.
"""

from __future__ import annotations

import dataclasses
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flops, rankers, workloads
from benchmarks.cases import Case, Work, Wrong, expect_close
from benchmarks.rankers import random_judgements, ranker_params
from benchmarks.workloads import CATALOGUES
from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import NOW, World
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.index import Index, with_fallback
from socialrec_jax.inference.load import model_for
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.pipeline.retriever import training_batches
from socialrec_jax.runtime import parallel

_TEMPERATURE = 0.07
_CHECKED = 8  # queries


def cases(tiny: bool) -> list[Case]:
    names = workloads.sized(("catalogue-1m", "catalogue-10m"), tiny)
    searches = [
        Case(f"search k={k}", name, partial(search, name, k), name)
        for name in names
        for k in (10, 100)
    ]
    users = 300 if tiny else 20_000
    return [
        *searches,
        Case("rank", names[0], partial(rankers.scoring, names[0])),
        Case("end to end", f"{users} users", partial(end_to_end, users)),
    ]


def search(name: str, k: int) -> Work:
    """Exact top-k of states by the index that serves, nothing masked."""
    workload, rng = CATALOGUES[name], np.random.default_rng(0)
    V, D, Q = workload.items, workload.width, workload.queries
    catalogue = (rng.normal(size=(V, D)) / D**0.5).astype(np.float32)
    states = (rng.normal(size=(Q, D)) / D**0.5).astype(np.float32)
    index = Index(with_fallback(_TEMPERATURE), V)
    shared = parallel.replicate((catalogue, np.zeros(V, np.float32)))
    nothing = Pairs(np.zeros(Q + 1, np.int64), np.zeros(0, np.int32))

    def check(carry) -> None:
        items, best, _ = carry
        scores = states[:_CHECKED] / _TEMPERATURE @ catalogue.T
        order = np.argsort(-scores, axis=1)[:, :k]
        expect_close("the best scores", best[:_CHECKED], np.take_along_axis(scores, order, 1), 2e-3)
        expect_close(
            "scores of the items",
            best[:_CHECKED],
            np.take_along_axis(scores, items[:_CHECKED], 1),
            2e-3,
        )

    def call(_):
        return tuple(
            np.concatenate(parts)
            for parts in zip(*index.top(shared, states, nothing, k), strict=True)
        )

    chunks = -(-Q // index.queries_per_call)
    return Work(
        call=call,
        carry=None,
        check=check,
        unit="users",
        units_per_call=Q,
        flops=flops.softmax(Q, V, D),
        bytes=4.0 * V * (D * chunks + 2 * Q),  # the catalogue a chunk; scores written and read
        devices=parallel.num_devices(),
    )


def end_to_end(num_users: int) -> Work:
    """Histories to ranked lists with reasons, on a sample shop: encoder, search, signals,
    ranker.
    """
    world = sample_world(num_users)
    engine = engine_of(world)
    users = np.arange(world.num_users)

    def call(_):
        found = list(engine.recommend(engine.query(users), k=10))
        return np.concatenate([f.items for f in found]), np.concatenate([f.scores for f in found])

    def check(carry) -> None:
        some = users[::37]
        alone = np.concatenate([found.scores for found in engine.recommend(engine.query(some))])
        expect_close("scores of some users asked alone", carry[1][some], alone, 1e-3)
        seen = world.events.histories(users, world.history_ends(NOW))
        if any(np.isin(seen.part(u, u + 1).items, carry[0][u]).any() for u in some.tolist()):
            raise Wrong("something of the history was recommended again")

    return Work(
        call=call,
        carry=None,
        check=check,
        unit="users",
        units_per_call=world.num_users,
        on_host=True,
        devices=parallel.num_devices(),
    )


def sample_world(num_users: int) -> World:
    """The sample shop of this many users, through its tables."""
    folder = Path(tempfile.mkdtemp(prefix="shop-"))
    write_tables(folder / "tables", num_users=num_users, num_items=max(120, num_users // 10))
    return prepare(folder / "tables", folder / "world", Config().data, "leave-one-out")


def engine_of(world: World) -> Engine:
    """An untrained one: it takes as long as a trained one."""
    config = Config(
        model=ModelConfig(width=64, history_length=64, dropout=0.0),
        train=TrainConfig(tokens_per_step=1024, steps_per_call=1, negatives=0),
    )
    model = model_for(config, world)
    example = training_batches(world, config, world.history_ends(NOW)).at(0)
    params: dict = jax.jit(model.init)(jax.random.key(0), example)["params"]
    engine = Engine.create(world, config, model, params)
    evaluated = random_judgements(
        2,
        4,
        dataclasses.replace(CATALOGUES["catalogue-1m-tiny"], width=64, items=world.num_items),
        np.random.default_rng(0),
    )
    ranker = Ranker(model.num_event_types, rankers.INTERACTIONS)
    ranker_parameters = ranker_params(ranker, evaluated.candidates, jnp.asarray(engine.catalogue))
    return engine.with_ranker(
        RankerFeatures.fit(world, world.history_ends(NOW), ItemKNNSettings()), ranker_parameters
    )
