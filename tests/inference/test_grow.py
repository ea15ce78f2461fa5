"""A trained model for more users and items: what it learnt stays, and newcomers start as they
should.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData
from socialrec_jax.inference.grow import grow, grown_texts
from socialrec_jax.inference.load import Loaded, items_with_events, model_for
from tests.worlds import random_edges, random_world, with_friends

CONFIG = Config(model=ModelConfig(width=16, history_length=8, dropout=0.1))
VECTORS = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def shop(tmp_path, users: int, items: int) -> World:
    """Users and items are numbered alike in shops of any size."""
    world = random_world(tmp_path / f"{users}-{items}", users, items)
    return with_friends(world, random_edges(users, 50, since=0))


def loaded(world: World) -> Loaded:
    """A model whose trained rows are all 7."""
    return Loaded(
        world=world,
        config=CONFIG,
        model=model_for(CONFIG, world, 4),
        params={
            "items": {"ids": np.full((world.num_items, 16), 7, np.float32)},
            "social": {"features": {"users": np.full((world.num_users, 16), 7, np.float32)}},
        },
        texts=VECTORS[: world.num_items],
        known=items_with_events(world, world.history_ends()),
        ranker=None,
        features=None,
    )


def rows(model: Loaded) -> tuple[np.ndarray, np.ndarray]:
    return model.params["items"]["ids"], model.params["social"]["features"]["users"]


def test_learnt_rows_stay_and_newcomers_with_a_text_start_from_it(tmp_path):
    before, after = loaded(shop(tmp_path, 30, 40)), shop(tmp_path, 35, 50)
    items, users = rows(grow(before, after, VECTORS[:50]))
    assert (items[:40][before.known] == 7).all()
    assert (items[40:] == 0).all()
    assert (users[:30] == 7).all()
    assert users.shape == (35, 16)
    assert (users[30:] == 0).all()


def test_newcomers_without_a_text_get_the_same_rows_in_one_step_or_two(tmp_path):
    sizes = [(30, 40), (35, 50), (40, 60)]
    first, second, third = (shop(tmp_path, *size) for size in sizes)
    texts = VECTORS.copy()
    texts[40:] = 0
    at_once = grow(loaded(first), third, texts)
    middle = dataclasses.replace(grow(loaded(first), second, texts[:50]), known=np.arange(50) < 40)
    for one, two in zip(rows(at_once), rows(grow(middle, third, texts)), strict=True):
        np.testing.assert_array_equal(one[40:], two[40:])
    lengths = np.linalg.norm(rows(at_once)[0][40:], axis=1)
    assert 0.7 < lengths.mean() < 1.3


def test_a_new_event_type_is_an_error(tmp_path):
    before, after = shop(tmp_path, 30, 40), shop(tmp_path, 35, 50)
    after = after.with_manifest({**after.manifest, "event_types": ["view", "buy", "share"]})
    with pytest.raises(BadData, match="share"):
        grow(loaded(before), after, VECTORS[:50])


def test_a_catalogue_without_vectors_stays_without(tmp_path):
    world = shop(tmp_path, 30, 50)
    assert grown_texts(tmp_path, np.zeros((40, 0), np.float32), world.items).shape == (50, 0)
