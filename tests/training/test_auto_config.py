"""Settings follow from the data, and what the user set stays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.config import (
    PRESETS,
    Config,
    ModelConfig,
    TrainConfig,
    check,
    from_json,
    required,
    to_json,
)
from socialrec_jax.errors import UsageError
from socialrec_jax.training.auto_config import (
    auto_config,
    dropout_for,
    epochs_for,
    tokens_for,
    window_for,
)


def test_nothing_is_left_open_and_what_was_set_stays(world):
    resolved = auto_config(Config(), world)
    sections = [getattr(resolved, name) for name in ("model", "train")]
    assert all(
        value is not None for section in sections for value in dataclasses.asdict(section).values()
    )
    chosen = Config(
        model=ModelConfig(dropout=0.0, history_length=32), train=TrainConfig(negatives=7, epochs=3)
    )
    kept = auto_config(chosen, world)
    assert (kept.model, kept.train.negatives, kept.train.epochs) == (chosen.model, 7, 3)
    assert auto_config(resolved, world) == resolved


@pytest.mark.parametrize(
    ("length", "window"), [(5, 64), (64, 64), (80, 128), (250, 256), (2000, 256)]
)
def test_the_window_is_the_shortest_that_shows_whole_histories(length, window):
    assert window_for(np.full(100, length)) == window


def test_sparse_items_get_more_dropout_and_small_data_small_steps():
    assert (
        dropout_for(120_000, 12_000)
        == 0.5
        > dropout_for(480_000, 12_000)
        > dropout_for(990_000, 3_400)
        == 0.2
    )
    assert [tokens_for(n) for n in (100, 150_000, 10_000_000)] == [1024, 2048, 4096]
    assert [epochs_for(n, tokens_for(n)) for n in (100, 990_000, 10_000_000)] == [60, 25, 20]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_in_range_and_survive_json(preset):
    config = PRESETS[preset]()
    check(config)
    assert from_json(to_json(config)) == config


def test_out_of_range_and_unresolved_settings_are_named():
    with pytest.raises(UsageError, match=r"--model\.dropout 0\.9 is out of range"):
        check(Config(model=ModelConfig(dropout=0.9)))
    with pytest.raises(TypeError, match="depth"):
        from_json('{"model": {"depth": 3}}')
    with pytest.raises(ValueError, match="not completed"):
        required(None)
