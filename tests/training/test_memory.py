"""Saving memory changes no result: blocks computed twice, steps in parts, half precision; and the
loss takes little memory.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.world import BEFORE_VALIDATION, NO_TIME
from socialrec_jax.inference.load import model_for
from socialrec_jax.pipeline.retriever import rows_per_step, training_batches
from socialrec_jax.runtime import parallel
from socialrec_jax.training import losses
from socialrec_jax.training.loop import calls
from socialrec_jax.training.retriever import RetrieverTrainer
from tests.worlds import random_edges, random_world, with_friends

PLAIN = Config(
    model=ModelConfig(width=16, num_layers=1, history_length=8, dropout=0.2),
    train=TrainConfig(tokens_per_step=64, steps_per_call=2, negatives=0),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return with_friends(
        random_world(tmp_path_factory.mktemp("world")), random_edges(60, 200, int(NO_TIME))
    )


@pytest.fixture(scope="module")
def plain(world):
    return trained(world, PLAIN)


def trained(world, config: Config):
    """(state, losses) after four steps."""
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    trainer = RetrieverTrainer(
        config, model_for(config, world), 40, batches.item_counts(world.num_items)
    )
    call, state, seen = trainer.compile(), trainer.init(batches.at(0)), []
    for given in calls(batches, 0, 4, 2, parallel.process()):
        state, loss = call(state, given)
        seen.append(np.asarray(loss))
    return state, np.concatenate(seen)


def changed(**settings) -> Config:
    model = {name: value for name, value in settings.items() if hasattr(PLAIN.model, name)}
    train = {name: value for name, value in settings.items() if name not in model}
    return dataclasses.replace(
        PLAIN,
        model=dataclasses.replace(PLAIN.model, **model),
        train=dataclasses.replace(PLAIN.train, **train),
    )


def test_saving_memory_learns_the_same(world, plain):
    """Blocks computed twice and steps in parts, in one program, which compiles for seconds."""
    state, loss = trained(world, changed(remat=True, accumulation=4))
    np.testing.assert_allclose(loss, plain[1], rtol=1e-5)
    assert jax.tree.structure(state.params) == jax.tree.structure(plain[0].params)
    # The moments are sums of gradients; the parameters' own steps are Adam's, which amplify
    # rounding.
    for one, other in zip(
        jax.tree.leaves(state.opt_state), jax.tree.leaves(plain[0].opt_state), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_every_part_of_a_step_has_as_many_rows():
    assert rows_per_step(PLAIN) == 8
    assert rows_per_step(changed(accumulation=3)) == 9
    assert rows_per_step(changed(accumulation=64)) == 64


def test_half_precision_keeps_weights_moments_and_sums_whole(world, plain):
    state, loss = trained(world, changed(compute_dtype="bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.average))} == {
        jnp.dtype("float32")
    }
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(state.opt_state)}
    assert dtypes == {jnp.dtype("float32"), jnp.dtype("int32")}, "int32 counts steps"
    assert loss.dtype == np.float32
    np.testing.assert_allclose(loss, plain[1], rtol=0.02)


def test_full_softmax_over_two_hundred_thousand_items_takes_less_than_500_megabytes():
    """Besides what goes in and comes out: 4,096 events forward and backward, width 64. Dense logits
    hold 3.3 GB.
    """
    shapes = [jax.ShapeDtypeStruct((rows, 64), jnp.float32) for rows in (4096, 200_000)]
    targets, weights = jnp.zeros(4096, jnp.int32), jnp.ones(4096)

    def loss(users, items):
        return losses.full_softmax(users, items, targets, weights, 0.07).total

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 500e6
