"""Events on the devices or on the host: the same batches and the same training, bit for bit."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.batching.layout import gather_batch
from socialrec_jax.data.batching.training_batches import TrainingBatches
from socialrec_jax.data.world import BEFORE_VALIDATION, NO_TIME, World
from socialrec_jax.inference.load import model_for
from socialrec_jax.pipeline.retriever import training_batches
from socialrec_jax.runtime import parallel
from socialrec_jax.training.device_data import DeviceBatches, describe, placed
from socialrec_jax.training.loop import Batches, calls
from socialrec_jax.training.retriever import RetrieverTrainer
from tests.worlds import random_edges, random_world, with_friends

# Two programs are equal bit for bit only where XLA fuses both alike.
pytestmark = pytest.mark.optimized

# Without blocks, which see nothing but the batch and take most of the time to compile.
CONFIG = Config(
    model=ModelConfig(width=8, num_layers=0, num_heads=1, history_length=8, dropout=0.2),
    train=TrainConfig(tokens_per_step=64, steps_per_call=4, negatives=0),
)


def late_batches(world: World) -> TrainingBatches:
    """Training batches of the World, its clock moved far beyond 32 bits."""
    late = dataclasses.replace(world.events, times=world.events.times + 2**40)
    world.manifest["time_min"] = int(late.times.min())
    world = dataclasses.replace(world, events=late)
    return training_batches(world, CONFIG, world.history_ends(BEFORE_VALIDATION))


@pytest.fixture
def batches(tmp_path):
    """With friends."""
    return late_batches(with_friends(random_world(tmp_path), random_edges(60, 200, int(NO_TIME))))


def assert_same(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert jax.tree.map(lambda leaf: leaf.dtype, one) == jax.tree.map(
        lambda leaf: leaf.dtype, other
    )


def test_a_device_gathers_the_batches_of_the_host(batches):
    columns, on_device = parallel.replicate(batches.columns()), jax.jit(gather_batch)
    for step in range(2 * batches.steps_per_epoch):  # the last of an epoch has rows of padding
        assert_same(on_device(DeviceBatches(batches).at(step), columns), batches.at(step))


def trained(trainer: RetrieverTrainer, batches: Batches):
    """(parameters, losses) after three calls."""
    call, state, losses = trainer.compile(), trainer.init(batches.at(0)), []
    for given in calls(batches, 0, 12, 4, (0, 1)):
        state, loss = call(state, given)
        losses.append(np.asarray(loss))
    return jax.tree.map(np.asarray, state.params), np.concatenate(losses)


def test_training_on_columns_changes_no_bit(world):
    """Without friends, whose programs compile for long; their columns are compared above."""
    batches = late_batches(world)
    trainer = RetrieverTrainer(
        CONFIG, model_for(CONFIG, world), 12, batches.item_counts(world.num_items)
    )
    on_devices, device_batches = placed(trainer, batches)
    assert isinstance(device_batches, DeviceBatches)
    found = trained(on_devices, device_batches)
    jax.tree.map(np.testing.assert_array_equal, found, trained(trainer, batches))


def test_events_that_do_not_fit_are_streamed(batches, monkeypatch):
    assert describe(1_000_000).startswith("on each device: 9.0 MB, budget")
    monkeypatch.setattr(parallel, "memory_for_data", lambda: 100)
    trainer = object()
    assert placed(trainer, batches) == (trainer, batches)
    assert describe(1_000_000).startswith("streamed from the host")
