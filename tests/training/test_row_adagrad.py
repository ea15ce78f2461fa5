"""Tables trained row by row equal dense training, in place, on any number of devices; lost rows
are counted.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.world import BEFORE_VALIDATION, NO_TIME, TEST
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.evaluator import evaluate_retriever
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import load_run, model_for
from socialrec_jax.models.dropout import DropoutRng
from socialrec_jax.models.embedding_tables import (
    NUM_SHARDS,
    in_number_order,
    merge_tables,
    numbers_at,
    places_of,
    rows_per_shard,
)
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.pipeline.retriever import train_retriever, training_batches
from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training import local_vocabulary, negatives, row_adagrad
from socialrec_jax.training.negatives import Negatives
from socialrec_jax.training.retriever import RetrieverTrainer
from tests import workers
from tests.training.tables_worker import (
    NUM_ROWS,
    RATE,
    WIDTH,
    goals_of,
    ids_of,
    ids_of_one_owner,
)
from tests.worlds import cyclic_world, random_edges, random_world, with_friends

STEPS = 20

# Processes x devices of each. Later ones read the checkpoints of earlier ones.
LAYOUTS = [(1, 8), (2, 2), (1, 1)]


def on_devices(processes: int, devices: int, folder: Path) -> dict[str, np.ndarray]:
    options = ("--steps", str(STEPS))
    workers.run("tests.training.tables_worker", folder, devices, *options, processes=processes)
    return dict(np.load(folder / f"{processes}x{devices}.npz"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{"processes x devices": what process 0 saw}."""
    folder = tmp_path_factory.mktemp("tables")
    return {
        f"{processes}x{devices}": on_devices(processes, devices, folder)
        for processes, devices in LAYOUTS
    }


NAMES = [f"{processes}x{devices}" for processes, devices in LAYOUTS]


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


@pytest.mark.parametrize("name", NAMES)
def test_it_equals_the_same_rule_on_the_whole_table(trained, name):
    seen = trained[name]
    rows, losses = dense_adagrad(seen["start"])
    np.testing.assert_allclose(seen["end"], rows, atol=1e-5)
    np.testing.assert_allclose(seen["losses"], losses, rtol=1e-5)
    assert seen["lost"] == 0


def test_a_first_step_is_exact_to_a_millionth():
    table = row_adagrad.initial_table(NUM_ROWS, WIDTH, 1.0, jax.random.key(0))
    start, ids, goals = np.asarray(table.parameter), ids_of(0), goals_of(0)

    def step(table, part):
        ids, goals = part
        lookup = row_adagrad.look_up(table, ids)

        def squared_error(rows):
            return 0.5 * jnp.sum((rows[lookup.places] - goals) ** 2)

        gradients = jax.grad(squared_error)(lookup.rows)
        one, rate = jnp.float32(1), jnp.float32(RATE)
        updated = row_adagrad.update_rows(table, lookup, gradients, one, rate)
        return updated.rows, lookup.rows[lookup.places], lookup.ids[lookup.places]

    rows, looked_up, own_ids = parallel.map_devices(step)(table, (ids[None], goals[None]))
    np.testing.assert_array_equal(looked_up[0], start[ids])
    np.testing.assert_array_equal(own_ids[0], ids)
    gradients = np.zeros_like(start)
    np.add.at(gradients, ids, start[ids] - goals)
    change = RATE * gradients / np.sqrt(np.maximum(np.square(gradients).mean(-1), 1e-30))[:, None]
    updated = in_number_order(np.asarray(rows)[0], NUM_ROWS)
    np.testing.assert_allclose(updated, start - change, atol=1e-6)


def test_a_larger_table_begins_with_the_same_rows():
    """Rows of newcomers are drawn without redrawing those that are known."""
    key = jax.random.key(0)
    small, large = (row_adagrad.initial_table(rows, WIDTH, 1.0, key) for rows in (1000, 4001))
    np.testing.assert_array_equal(small.parameter, large.parameter[:1000])


def test_a_table_goes_on_from_a_parameter():
    parameter = np.random.default_rng(0).normal(size=(NUM_ROWS, WIDTH)).astype(np.float32)
    np.testing.assert_array_equal(row_adagrad.of_parameter(parameter).parameter, parameter)


def test_initial_rows_do_not_depend_on_the_devices(trained):
    for name in NAMES:
        np.testing.assert_array_equal(trained[name]["start"], trained["1x1"]["start"])


@pytest.mark.parametrize(("writer", "reader"), list(itertools.combinations(NAMES, 2)))
def test_a_checkpoint_is_read_on_other_devices_and_processes(trained, writer, reader):
    np.testing.assert_array_equal(trained[reader][f"from {writer}"], trained[writer]["end"])


def test_rows_without_room_are_counted_and_do_not_change(trained):
    seen, shard_size = trained["1x8"], rows_per_shard(NUM_ROWS)
    # All rows belong to the first of 8 owners; each device may request `room` of them.
    ids = ids_of_one_owner().reshape(8, -1)
    share = shard_size * NUM_SHARDS // 8
    room = row_adagrad.message_size(ids.shape[1], 8, share)
    requested = [np.unique(places_of(part, shard_size)) for part in ids]
    assert seen["skewed_lost"] == sum(max(0, len(part) - room) for part in requested) > 0
    answered = np.unique(np.concatenate([part[:room] for part in requested]))
    moved = np.flatnonzero(np.abs(seen["skewed_end"] - seen["start"]).max(-1) > 0)
    np.testing.assert_array_equal(moved, np.sort(numbers_at(answered, shard_size)))


def small_config(**train) -> Config:
    model = ModelConfig(width=16, num_layers=1, num_heads=2, history_length=8, dropout=0.2)
    return Config(model=model, train=TrainConfig(tokens_per_step=128, **train))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """(World with friends and text vectors, configuration, batches, model, trainer of row by row
    tables).
    """
    world = random_world(tmp_path_factory.mktemp("shop"))
    world = with_friends(world, random_edges(world.num_users, 300, int(NO_TIME)))
    config = small_config(negatives=16)
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    texts = np.random.default_rng(0).normal(size=(world.num_items, 5)).astype(np.float32)
    model = model_for(config, world, texts.shape[1])
    trainer = RetrieverTrainer(
        config, model, 8, batches.item_counts(world.num_items), texts, tables=("items", "users")
    )
    return world, config, batches, model, trainer


def test_a_local_vocabulary_gives_the_loss_of_the_whole_catalogue(shop):
    """Dropout of activations and of ids included, whatever the items' local numbers are."""
    _, _, batches, model, trainer = shop
    state, batch = trainer.init(batches.at(0)), batches.at(0)
    drawn = Negatives(jnp.array([3, 3, 7, 11]), jnp.zeros(4))
    dropout_rng = DropoutRng(jnp.uint32(5), jnp.asarray(batch.row_ids))

    def local_loss(state, batch):
        vocabulary = local_vocabulary.gather(state.tables, batch, drawn, trainer.fixed)
        variables = {"params": merge_tables(state.params, vocabulary.rows)} | vocabulary.fixed
        bound = vocabulary.model(model).bind(variables)
        return trainer.loss_sums(bound, vocabulary, dropout_rng)

    local = parallel.map_devices(local_loss)(state, parallel.split_over_devices(batch))

    def whole_loss(params, batch):
        vocabulary = local_vocabulary.gather({}, batch, drawn, trainer.fixed)
        bound = model.bind({"params": params} | trainer.fixed)
        return trainer.loss_sums(bound, vocabulary, dropout_rng)

    whole = jax.jit(whole_loss)(state.served, batch)
    for one, other in zip(jax.tree.leaves(local), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(np.ravel(one), np.ravel(other), rtol=1e-5)


def test_rows_are_updated_where_they_lie_and_fine_tuning_goes_on_from_them(shop):
    _, _, batches, _, trainer = shop
    state, call, places = trainer.init(batches.at(0)), trainer.compile(), []
    for step in range(3):
        state, losses = call(
            state, jax.tree.map(lambda x: x[:, None], parallel.split_over_devices(batches.at(step)))
        )
        assert np.isfinite(losses).all()
        places.append(
            [
                t.rows.addressable_shards[0].data.unsafe_buffer_pointer()
                for t in state.tables.values()
            ]
        )
    assert places[1] == places[2]
    start = jax.tree.map(np.asarray, state.served)
    tuned = dataclasses.replace(trainer, start=start).init(batches.at(0))
    jax.tree.map(np.testing.assert_array_equal, tuned.served, start)


def test_tables_are_trained_row_by_row_where_dense_training_takes_too_much():
    config = ModelConfig(width=64)

    def chosen(items: int, users: int, num_negatives: int = 1024) -> tuple[str, ...]:
        return local_vocabulary.big_tables(RecommenderModel(config, items, 2, users), num_negatives)

    assert chosen(12_101, 22_363) == ()
    assert chosen(10_000_000, 22_363) == ("items",)
    assert chosen(10_000_000, 50_000_000) == ("items", "users")
    assert chosen(10_000_000, 50_000_000, num_negatives=0) == ("users",), (
        "a full softmax touches every item"
    )


def test_negatives_come_as_often_as_they_say():
    counts = np.array([0, 50, 3, 0, 947])
    drawn = negatives.draw(jax.random.key(0), 100_000, negatives.running_counts(counts))
    share = np.bincount(drawn.ids, minlength=5) / 100_000
    probabilities = 0.5 * counts / counts.sum() + 0.5 / len(counts)
    np.testing.assert_allclose(share, probabilities, atol=5 * 0.5 / np.sqrt(100_000))
    np.testing.assert_allclose(
        np.exp(drawn.log_expected) / 100_000, probabilities[np.asarray(drawn.ids)], rtol=1e-5
    )


def test_negatives_of_a_huge_catalogue_are_not_rounded_away():
    """In float32 a running sum of probabilities stops growing long before the last item."""
    V = 20_000_000
    drawn = np.asarray(
        negatives.draw(jax.random.key(0), 4000, np.arange(1, V + 1, dtype=np.int32)).ids
    )
    assert np.abs(np.bincount(drawn * 10 // V, minlength=10) - 400).max() < 120
    assert len(np.unique(drawn % 64)) == 64
    assert len(np.unique(drawn)) > 3990


def test_a_run_with_big_tables_learns_and_serves_what_was_evaluated(tmp_path, monkeypatch):
    """The planted pattern of test_retriever.py, with every table trained row by row."""
    monkeypatch.setattr(local_vocabulary, "DENSE_BYTES", 0)
    run = RunDirectory(tmp_path / "run")
    run.world.mkdir(parents=True)
    world = cyclic_world(run.world, num_users=600)
    world.save()
    config = Config(
        model=ModelConfig(width=32, num_layers=1, history_length=8, dropout=0.1),
        train=TrainConfig(
            tokens_per_step=256, epochs=8, evaluations=2, negatives=16, learning_rate=2e-2
        ),
    )
    run.write_config(config)
    state, progress = train_retriever(
        run, world, config, np.zeros((world.num_items, 0), np.float32)
    )
    assert state.tables.keys() == {"items"}
    assert progress.finished
    run.text.mkdir()
    np.save(run.text / "vectors.npy", np.zeros((world.num_items, 0), np.float32))
    loaded = load_run(run.path, refitted=False)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, state.served)
    engine = Engine.create(world, config, loaded.model, loaded.params)
    queries = protocol.held_out(world, TEST)
    assert evaluate_retriever(engine, queries).metrics["hr@10"] > 0.95
