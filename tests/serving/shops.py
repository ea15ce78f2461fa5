"""Worlds whose items have labels, and whose users have attributes."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import World
from tests.worlds import with_texts


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
