"""Worlds whose items have labels and texts, and whose users have attributes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import World
from socialrec_jax.inference.engine import Engine
from tests.inference.test_reranker import ranked_engine
from tests.worlds import with_texts

DELETED = 5  # the product that `engine_with_texts` lacks


def with_labels(world: World) -> World:
    """Item i has category i % 4, tag i % 3 and one that all share; every seventh is sold out."""
    numbers = np.arange(world.num_items)
    world = with_texts(
        world,
        categories=[f"category {n}" for n in numbers % 4],
        tags=[f"tag {n}|all" for n in numbers % 3],
    )
    items = dataclasses.replace(
        world.items, prices=numbers.astype(np.float32), available=numbers % 7 != 0
    )
    regions = Strings.of([("north", "south", "")[user % 3] for user in range(world.num_users)])
    return dataclasses.replace(world, items=items, attributes={"region": regions})


def engine_with_texts(folder: Path) -> Engine:
    """An engine with ranker, whose products have texts and numbers; one product was deleted."""
    engine = ranked_engine(folder)
    world = engine.world
    titles = [f"{title} {n % 50}" for n, title in enumerate(world.items.titles.tolist())]
    titles[7] = "帽 子"
    world = with_texts(world, titles=titles)
    ids = world.items.ids.replaced(np.array([DELETED]), [""])
    items = dataclasses.replace(world.items, ids=ids)
    world = dataclasses.replace(world, items=items)
    return dataclasses.replace(engine, world=world)
