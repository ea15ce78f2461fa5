"""Room in the tables of a grown World: more rows, the same answers."""

from __future__ import annotations

import numpy as np
import pytest

from socialrec_jax.inference.capacity import (
    capacity,
    padded_model,
    padded_params,
    padded_rows,
    without_padding,
)
from socialrec_jax.models.embedding_tables import PATHS, split_tables
from tests.inference.test_engine import untrained_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return untrained_engine(tmp_path_factory.mktemp("world"))[1]


def test_few_sizes_cover_a_growing_table():
    sizes = [capacity(rows) for rows in range(1, 20_000)]
    rows = np.arange(1, 20_000)
    assert (sizes >= rows).all()
    assert (np.array(sizes) - rows < np.maximum(rows / 4, 64)).all()
    # From a thousand rows on, four sizes for each doubling.
    assert len(set(sizes[1023:16_383])) <= 17


def test_room_is_added_and_taken_away(engine):
    grown = engine.world.with_manifest({**engine.world.manifest, "room": True})
    assert padded_model(engine.model, engine.world) is engine.model
    model = padded_model(engine.model, grown)
    assert model.num_items == capacity(engine.world.num_items)
    params = engine.variables["params"]
    padded = padded_params(params, model)
    names = tuple(PATHS) if model.num_users else ("items",)
    for name, table in split_tables(without_padding(padded, engine.model), names)[1].items():
        assert table.tobytes() == np.asarray(split_tables(params, names)[1][name]).tobytes()
    assert padded_rows(np.ones((2, 3)), 4)[2:].tolist() == [[0] * 3] * 2


def test_a_padded_engine_has_the_same_states_and_items(engine):
    manifest = {**engine.world.manifest, "room": True}
    padded = type(engine).create(
        engine.world.with_manifest(manifest),
        engine.config,
        engine.model,
        engine.variables["params"],
    )
    assert padded.encoder.model.num_items > engine.world.num_items
    users = np.arange(engine.world.num_users)
    states = [one.states(one.query(users)).tobytes() for one in (engine, padded)]
    assert states[0] == states[1]
    assert np.asarray(padded.catalogue).tobytes() == np.asarray(engine.catalogue).tobytes()
