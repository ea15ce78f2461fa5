"""The text stage: it learns, resumes, is made once, and follows from its inputs alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from socialrec_jax.config import Config, TextConfig, TrainConfig, check
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.text.tokenizer import product_texts
from socialrec_jax.errors import InputMissing, UsageError
from socialrec_jax.inference.text_encoder import TextEncoder
from socialrec_jax.pipeline import text
from socialrec_jax.pipeline.text import item_features
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.training import loop
from socialrec_jax.training.auto_config import auto_text_config
from tests.short_calls import shorten_calls
from tests.worlds import random_world

CONFIG = Config(
    text=TextConfig(
        width=16, num_layers=1, max_tokens=16, vocabulary=300, epochs=100, vector_width=6
    ),
    train=TrainConfig(steps_per_call=2, evaluations=2, learning_rate=2e-2),
)
# For what a text model does that need not be a good one.
SHORT = dataclasses.replace(CONFIG, text=dataclasses.replace(CONFIG.text, epochs=4))


@pytest.fixture(scope="module", autouse=True)
def small_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_TOKENS_PER_STEP", 128)
        # Otherwise short trainings make 200 steps, too.
        patch.setattr(text, "_LEAST_STEPS", 1)
        shorten_calls(patch)
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A World of red, blue and green lamps and shoes; every eighth product has no text."""
    world = random_world(tmp_path_factory.mktemp("world"))
    words = [
        f"{('red', 'blue', 'green')[i % 3]} {('lamp', 'shoe')[i % 2]}"
        for i in range(world.num_items)
    ]
    titles = ["" if i % 8 == 7 else text for i, text in enumerate(words)]
    return dataclasses.replace(
        world, items=dataclasses.replace(world.items, titles=Strings.of(titles))
    )


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory) -> tuple[RunDirectory, np.ndarray]:
    """A run whose text stage is finished, and its vectors."""
    run = RunDirectory(tmp_path_factory.mktemp("trained") / "run")
    return run, item_features(run, shop, CONFIG)


def losses(run: RunDirectory) -> list[float]:
    lines = map(json.loads, run.metrics.read_text().splitlines())
    return [line["loss"] for line in lines if line["stage"] == "text"]


def test_training_lowers_the_loss_and_happens_once(shop, trained, monkeypatch):
    run, vectors = trained
    assert vectors.shape == (40, 6)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.arange(40) % 8 != 7, atol=1e-5)
    assert np.mean(losses(run)[-3:]) < 0.6 * losses(run)[0]
    monkeypatch.setattr(text, "fit", None)
    np.testing.assert_array_equal(item_features(run, shop, CONFIG), vectors)


def test_an_interrupted_stage_ends_as_one_that_was_not(shop, tmp_path):
    whole, broken = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "broken")
    expected = item_features(whole, shop, SHORT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SignalWatch", SignalAtOnce)
        with pytest.raises(loop.Stopped):
            item_features(broken, shop, SHORT)
    assert len(losses(broken)) < len(losses(whole))
    np.testing.assert_array_equal(item_features(broken, shop, SHORT), expected)
    assert losses(broken) == losses(whole)


class SignalAtOnce:
    """What the loop sees of a SIGTERM."""

    received = 15

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_other_texts_make_other_vectors_in_the_same_place(shop, tmp_path):
    run = RunDirectory(tmp_path / "run")
    before = item_features(run, shop, SHORT)
    items = dataclasses.replace(shop.items, categories=Strings.of(["new"] * 40))
    after = item_features(run, dataclasses.replace(shop, items=items), SHORT)
    assert np.linalg.norm(before[7]) == 0
    assert np.linalg.norm(after[7]) > 0.99


def test_a_pretrained_model_is_taken_as_it_is_or_trained_on(shop, trained, tmp_path):
    first, vectors = trained
    folder = str(first.text)
    as_it_is = dataclasses.replace(
        CONFIG, text=TextConfig(pretrained=folder, epochs=0, vector_width=6)
    )
    np.testing.assert_allclose(
        item_features(RunDirectory(tmp_path / "second"), shop, as_it_is), vectors, atol=1e-5
    )
    on = dataclasses.replace(as_it_is, text=dataclasses.replace(as_it_is.text, epochs=2))
    item_features(RunDirectory(tmp_path / "third"), shop, on)
    assert losses(RunDirectory(tmp_path / "third"))[0] < 0.7 * losses(first)[0]


def test_fixed_vectors_are_further_columns(shop, tmp_path):
    fixed = np.random.default_rng(0).normal(size=(40, 9)).astype(np.float32)
    fixed[3] = 0
    items = dataclasses.replace(shop.items, vectors=fixed)
    both = item_features(
        RunDirectory(tmp_path / "both"), dataclasses.replace(shop, items=items), SHORT
    )
    assert both.shape == (40, 12)
    assert both[3, :6].any()
    assert not both[3, 6:].any()
    np.testing.assert_allclose(np.linalg.norm(np.delete(both, 3, 0)[:, 6:], axis=1), 1, atol=1e-5)


def test_a_kept_encoder_gives_known_texts_their_vectors(shop, trained):
    run, vectors = trained
    texts = product_texts(shop.items)
    encoder = TextEncoder.load(run.text)
    np.testing.assert_allclose(encoder.encode(texts), vectors, atol=1e-5)
    np.testing.assert_allclose(encoder.encode([texts[3]]), vectors[[3]], atol=1e-5)
    new = encoder.encode(["a green lamp, new", ""])
    assert np.linalg.norm(new, axis=1).tolist() == pytest.approx([1, 0], abs=1e-6)


def test_a_folder_without_an_encoder_is_named(tmp_path):
    with pytest.raises(InputMissing, match="no product texts"):
        TextEncoder.load(tmp_path)


def test_a_world_that_says_nothing_has_no_features(world, tmp_path):
    assert item_features(RunDirectory(tmp_path), world, CONFIG).shape == (40, 0)


def test_sizes_follow_from_the_amount_of_text(shop):
    resolved = auto_text_config(TextConfig(), shop.items)
    assert (resolved.vocabulary, resolved.epochs) == (1024, 8)
    with pytest.raises(UsageError, match="pretrained"):
        check(Config(text=TextConfig(epochs=0)))
