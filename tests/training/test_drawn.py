"""Parameters are drawn on the host's cores, also where the model's kernels are an accelerator's."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from socialrec_jax.batch import TextBatch
from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.world import BEFORE_VALIDATION, NO_TIME
from socialrec_jax.inference.load import model_for
from socialrec_jax.models import attention, stack
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.pipeline.retriever import training_batches
from socialrec_jax.training.retriever import RetrieverTrainer
from socialrec_jax.training.text import TextTrainer
from tests.worlds import random_edges, with_friends

TRAIN = TrainConfig(tokens_per_step=64, negatives=0)
MODEL = ModelConfig(width=8, num_layers=2, num_heads=2, history_length=8, compute_dtype="bfloat16")


@pytest.fixture(params=["cuda", "tpu"])
def assert_drawn_alike(request, monkeypatch):
    """A function: a trainer draws the same where JAX names this platform."""

    def check(trainer, example) -> None:
        expected = trainer.init(example).params
        # The model is traced again, now with the platform's kernels.
        jax.clear_caches()
        monkeypatch.setattr(attention, "current_platform", lambda: request.param)
        backend = "gpu" if request.param == "cuda" else "tpu"
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        jax.tree.map(np.testing.assert_array_equal, trainer.init(example).params, expected)

    return check


@pytest.mark.parametrize("is_deep", [False, True])
def test_a_retriever(world, assert_drawn_alike, monkeypatch, is_deep):
    if is_deep:  # its layers are one loop
        monkeypatch.setattr(stack, "MAX_UNROLLED", 1)
    world = with_friends(world, random_edges(60, 200, int(NO_TIME)))
    config = Config(model=MODEL, train=TRAIN)
    batches = training_batches(world, config, world.history_ends(BEFORE_VALIDATION))
    counts = batches.item_counts(world.num_items)
    trainer = RetrieverTrainer(config, model_for(config, world), 8, counts)
    assert_drawn_alike(trainer, batches.at(0))


def test_a_language_model(assert_drawn_alike):
    tokens = np.arange(64, dtype=np.int32).reshape(2, 32)
    example = TextBatch(tokens=tokens, segments=np.ones_like(tokens))
    model = GPT2(GPT2Sizes(vocab_size=64, n_positions=32, n_embd=16, n_layer=2, n_head=2))
    assert_drawn_alike(TextTrainer(Config(train=TRAIN), model, 8), example)
