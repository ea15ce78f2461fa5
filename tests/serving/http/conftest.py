"""The Recommender that the service answers from."""

from __future__ import annotations

import dataclasses

import pytest

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.world import NOW
from socialrec_jax.serving.recommender import Recommender
from tests.inference.test_reranker import ranked_engine
from tests.serving.shops import with_labels


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    """The region of a user is the name of a category."""
    engine = ranked_engine(tmp_path_factory.mktemp("world"))
    world = with_labels(engine.world)
    regions = Strings.of([f"category {user % 2}" for user in range(world.num_users)])
    world = dataclasses.replace(world, attributes={"region": regions})
    return Recommender(dataclasses.replace(engine, world=world), NOW)
