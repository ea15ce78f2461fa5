"""Tables row by row: as dense training would have it, in place, on any number of devices, and nothing lost silently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax import parallel
from socialrec_jax.checkpoint import Checkpoints
from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.world import NO_TIME, VALIDATION
from socialrec_jax.models.layers import Noise
from socialrec_jax.models.recommender import RecommenderModel, fixed_variables
from socialrec_jax.models.tables import put_in, take_out
from socialrec_jax.serving.load import model_for
from socialrec_jax.stages import training_batches
from socialrec_jax.training import embeddings, negatives, small_world
from socialrec_jax.training.negatives import Negatives
from socialrec_jax.training.step import Trainer
from tests.training.tables_worker import NUM_ROWS, RATE, WIDTH, goals_of, ids_of
from tests.worlds import random_edges, random_world, with_friends

ROOT = Path(__file__).parents[2]
STEPS = 50


def on_devices(devices: int, folder: Path, *options: str) -> dict[str, np.ndarray]:
    command = [sys.executable, "-m", "tests.training.tables_worker", str(folder), "--devices", str(devices), *options]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(folder / f"{devices}.npz"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, {devices: what the worker saw}); checkpoints come from 8 devices."""
    folder = tmp_path_factory.mktemp("tables")
    found = {8: on_devices(8, folder, "--steps", str(STEPS))}
    return folder, found | {devices: on_devices(devices, folder, "--steps", str(STEPS)) for devices in (1, 2, 4)}


def dense_adagrad(start: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The same rule over the whole table, in double precision."""
    rows, squares, losses = start.astype(np.float64), np.zeros(len(start)), []
    for step in range(STEPS):
        ids, goals = ids_of(step), goals_of(step)
        losses.append(0.5 * np.square(rows[ids] - goals).sum() / len(ids))
        gradients = np.zeros_like(rows)
        np.add.at(gradients, ids, (rows[ids] - goals) / len(ids))
        squares += np.square(gradients).mean(-1)
        rows -= RATE * gradients / np.sqrt(np.maximum(squares, 1e-30))[:, None]
    return rows, losses


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_rows_learn_as_the_same_rule_would_teach_the_whole_table(trained, devices):
    found = trained[1][devices]
    rows, losses = dense_adagrad(found["start"])
    np.testing.assert_allclose(found["end"], rows, atol=1e-5)
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-5)
    assert found["lost"] == 0


def test_a_first_step_is_exact_to_a_millionth(tmp_path):
    table = embeddings.fresh(NUM_ROWS, WIDTH, 1.0, jax.random.key(0))
    start, ids, goals = np.asarray(table.rows), ids_of(0), goals_of(0)

    def step(table, part):
        found = embeddings.look_up(table, part[0])
        gradients = jax.grad(lambda rows: 0.5 * jnp.sum((rows[found.places] - part[1]) ** 2))(found.rows)
        new = embeddings.updated(table, found, gradients, jnp.float32(1), jnp.float32(RATE))
        return new.rows[None], found.rows[found.places]

    rows, seen = parallel.map_devices(lambda table, part: step(table, part))(table, (ids[None], goals[None]))
    np.testing.assert_array_equal(seen[0], start[ids])
    gradients = np.zeros_like(start)
    np.add.at(gradients, ids, start[ids] - goals)
    change = RATE * gradients / np.sqrt(np.maximum(np.square(gradients).mean(-1), 1e-30))[:, None]
    np.testing.assert_allclose(np.asarray(rows).reshape(start.shape), start - change, atol=1e-6)


def test_fresh_rows_do_not_depend_on_the_devices(trained):
    for devices in (2, 4, 8):
        np.testing.assert_array_equal(trained[1][devices]["start"], trained[1][1]["start"])


@pytest.mark.parametrize("devices", [4, 2, 1])
def test_a_checkpoint_of_eight_devices_is_restored_on_fewer(trained, devices):
    folder, found = trained
    restored = on_devices(devices, folder, "--restore")
    np.testing.assert_array_equal(restored["end"], found[8]["end"])


def test_what_finds_no_room_is_counted_and_stays_as_it_is(tmp_path):
    found = on_devices(8, tmp_path, "--steps", "1", "--skewed")
    # All ids belong to the first of 8 owners; each device may ask it for so many rows.
    ids, share = ids_of(0, skewed=True).reshape(8, -1), len(found["start"]) // 8
    room = embeddings.message_size(ids.shape[1], 8, share)
    asked = [np.unique(part) for part in ids]
    assert found["lost"] == sum(max(0, len(part) - room) for part in asked) > 0
    heard = np.unique(np.concatenate([part[:room] for part in asked]))
    moved = np.flatnonzero(np.abs(found["end"] - found["start"]).max(-1) > 0)
    np.testing.assert_array_equal(moved, heard)


def small_config(**train) -> Config:
    model = ModelConfig(width=16, num_layers=1, num_heads=2, history_length=8, dropout=0.2)
    return Config(model=model, train=TrainConfig(tokens_per_step=128, **train))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """(World with friends and text vectors, configuration, batches, model, trainer of row by row tables)."""
    world = random_world(tmp_path_factory.mktemp("shop"))
    world = with_friends(world, random_edges(world.num_users, 300, int(NO_TIME)))
    config = small_config(negatives=16)
    batches = training_batches(world, config, world.ends(VALIDATION))
    texts = np.random.default_rng(0).normal(size=(world.num_items, 5)).astype(np.float32)
    model = model_for(config, world, texts.shape[1])
    trainer = Trainer(config, model, 8, batches.item_counts(world.num_items), texts, tables=("items", "users"))
    return world, config, batches, model, trainer


def test_a_small_world_says_what_the_large_one_says(shop):
    """The same loss, dropout of activations and of ids included, whatever its items are numbered."""
    _, _, batches, model, trainer = shop
    state, batch = trainer.init(batches.at(0)), batches.at(0)
    drawn = Negatives(jnp.array([3, 3, 7, 11]), jnp.zeros(4))
    noise = Noise(jnp.uint32(5), jnp.asarray(batch.row_ids))

    def in_small(state, batch):
        world = small_world.gather(state.tables, batch, drawn, trainer.fixed)
        bound = world.model(model).bind({"params": put_in(state.params, world.rows)} | world.fixed)
        return jax.tree.map(lambda x: x[None], trainer.loss_sums(bound, world, noise))

    small = parallel.map_devices(lambda state, batch: in_small(state, batch))(
        state, parallel.split_over_devices(batch)
    ) if False else parallel.map_devices(in_small)(state, jax.tree.map(lambda x: x[None], batch))
    large_world = small_world.gather({}, batch, drawn, trainer.fixed)
    large = trainer.loss_sums(model.bind({"params": state.served} | trainer.fixed), large_world, noise)
    for ours, theirs in zip(jax.tree.leaves(small), jax.tree.leaves(large), strict=True):
        np.testing.assert_allclose(np.ravel(ours), np.ravel(theirs), rtol=1e-5)
