"""Settings that follow from the data, so that one command fits a small shop and a large one.

docs/results/accuracy.md has the measurement behind each rule.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.config import Config, TextConfig, TrainConfig, required
from socialrec_jax.data.world import BEFORE_VALIDATION, Items, World

# In larger catalogues 1,024 sampled negatives are as accurate, and faster.
FULL_SOFTMAX_ITEMS = 5_000
SAMPLED_NEGATIVES = 1024
_STEPS_PER_EPOCH = 64
_STEPS = 6000
_WINDOWS = (64, 128, 256)
_WHOLE_HISTORY_SHARE = 0.95
_BYTES_PER_TOKEN = 4  # of English in a small byte-level vocabulary
_TEXT_TOKENS = 2_000_000  # trained in about two minutes on two cores


def auto_config(config: Config, world: World) -> Config:
    """The same configuration with every None filled in; what the user set stays."""
    lengths = world.history_ends(BEFORE_VALIDATION) - world.events.starts
    num_events = int(lengths.sum())
    model = config.model
    if model.history_length is None:
        model = dataclasses.replace(model, history_length=window_for(lengths))
    if model.dropout is None:
        dropout = dropout_for(num_events, world.num_items)
        model = dataclasses.replace(model, dropout=dropout)
    train = _auto_train_config(config.train, num_events, world.num_items)
    text = auto_text_config(config.text, world.items)
    return dataclasses.replace(config, model=model, train=train, text=text)


def _auto_train_config(train: TrainConfig, num_events: int, num_items: int) -> TrainConfig:
    if train.tokens_per_step is None:
        train = dataclasses.replace(train, tokens_per_step=tokens_for(num_events))
    if train.negatives is None:
        negatives = 0 if num_items <= FULL_SOFTMAX_ITEMS else SAMPLED_NEGATIVES
        train = dataclasses.replace(train, negatives=negatives)
    if train.epochs is None:
        epochs = epochs_for(num_events, required(train.tokens_per_step))
        train = dataclasses.replace(train, epochs=epochs)
    return train


def auto_text_config(text: TextConfig, items: Items) -> TextConfig:
    """Vocabulary and epochs from the amount of text."""
    columns = (items.titles, items.categories, items.tags, items.descriptions)
    num_bytes = sum(len(column.data) for column in columns)
    num_tokens = num_bytes / _BYTES_PER_TOKEN
    if text.vocabulary is None:
        text = dataclasses.replace(text, vocabulary=vocabulary_for(num_tokens))
    if text.epochs is None:
        epochs = round(_TEXT_TOKENS / max(num_tokens, 1))
        text = dataclasses.replace(text, epochs=int(np.clip(epochs, 1, 8)))
    return text


def vocabulary_for(num_tokens: float) -> int:
    """The power of two at which a token occurs about fifty times: as many whole words as can be
    learnt.
    """
    return _power_of_two(num_tokens / 50, 10, 14)


def window_for(lengths: np.ndarray) -> int:
    """The shortest window that holds 95% of all events together with their whole history, or the
    longest.

    lengths [U]: training events of each user. Short rows cost less attention and pack as well.
    """
    num_events = max(lengths.sum(), 1)
    for window in _WINDOWS:
        if np.minimum(lengths, window).sum() / num_events >= _WHOLE_HISTORY_SHARE:
            return window
    return _WINDOWS[-1]


def tokens_for(num_events: int) -> int:
    """The power of two that gives about 64 steps an epoch, so that small data has enough steps."""
    return _power_of_two(num_events / _STEPS_PER_EPOCH, 10, 12)


def epochs_for(num_events: int, tokens_per_step: int) -> int:
    """Epochs that make about 6,000 steps."""
    epochs = round(_STEPS * tokens_per_step / max(num_events, 1))
    return int(np.clip(epochs, 20, 60))


def dropout_for(num_events: int, num_items: int) -> float:
    """0.5 where an item has about ten events, 0.2 where it has sixty and more."""
    # Few events an item: many steps over little data, which overfits without dropout.
    events_per_item = max(num_events / max(num_items, 1), 1.0)
    dropout = 0.5 - 0.5 * (np.log10(events_per_item) - 1.2)
    return float(np.round(np.clip(dropout, 0.2, 0.5), 2))


def _power_of_two(value: float, low: int, high: int) -> int:
    """The power of two nearest to value, between 2^low and 2^high."""
    exponent = np.round(np.log2(max(value, 1e-9)))
    return int(2 ** np.clip(exponent, low, high))
