"""Settings that follow from the data, so that one command fits a small shop and a large one."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.config import Config, TextConfig, required
from socialrec_jax.data.world import BEFORE_VALIDATION, Items, World

FULL_SOFTMAX_ITEMS = (
    5_000  # from here on 1,024 sampled negatives are as accurate and faster: docs/results.md
)
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
    model = config.model
    if model.history_length is None:
        model = dataclasses.replace(model, history_length=window_for(lengths))
    if model.dropout is None:
        model = dataclasses.replace(model, dropout=dropout_for(int(lengths.sum()), world.num_items))
    train = config.train
    if train.tokens_per_step is None:
        train = dataclasses.replace(train, tokens_per_step=tokens_for(int(lengths.sum())))
    if train.negatives is None:
        train = dataclasses.replace(
            train, negatives=0 if world.num_items <= FULL_SOFTMAX_ITEMS else SAMPLED_NEGATIVES
        )
    if train.epochs is None:
        train = dataclasses.replace(
            train, epochs=epochs_for(int(lengths.sum()), required(train.tokens_per_step))
        )
    return dataclasses.replace(
        config, model=model, train=train, text=auto_text_config(config.text, world.items)
    )


def auto_text_config(text: TextConfig, items: Items) -> TextConfig:
    """The vocabulary and the passes that follow from how much text there is."""
    columns = (items.titles, items.categories, items.tags, items.descriptions)
    num_tokens = sum(len(column.data) for column in columns) / _BYTES_PER_TOKEN
    if text.vocabulary is None:
        text = dataclasses.replace(text, vocabulary=vocabulary_for(num_tokens))
    if text.epochs is None:
        text = dataclasses.replace(
            text, epochs=int(np.clip(round(_TEXT_TOKENS / max(num_tokens, 1)), 1, 8))
        )
    return text


def vocabulary_for(num_tokens: float) -> int:
    """The power of two that sees each token about fifty times: more words are whole, yet none too
    rare to learn.
    """
    return int(2 ** np.clip(np.round(np.log2(max(num_tokens, 1) / 50)), 10, 14))


def window_for(lengths: np.ndarray) -> int:
    """The shortest window that shows 95% of all events their whole history, or the longest there
    is.

    lengths [U]: training events of each user. Short rows cost less attention and pack as well.
    """
    whole = [np.minimum(lengths, window).sum() / max(lengths.sum(), 1) for window in _WINDOWS]
    return next(
        (w for w, share in zip(_WINDOWS, whole, strict=True) if share >= _WHOLE_HISTORY_SHARE),
        _WINDOWS[-1],
    )


def tokens_for(num_events: int) -> int:
    """The power of two that makes about 64 steps an epoch: small data needs small steps to take
    enough of them.
    """
    return int(2 ** np.clip(np.round(np.log2(max(num_events, 1) / _STEPS_PER_EPOCH)), 10, 12))


def epochs_for(num_events: int, tokens_per_step: int) -> int:
    """Passes that make about 6,000 steps."""
    return int(np.clip(round(_STEPS * tokens_per_step / max(num_events, 1)), 20, 60))


def dropout_for(num_events: int, num_items: int) -> float:
    """Half where an item has some ten events, a fifth where it has sixty and more: measured in
    docs/results.md.
    """
    events_per_item = max(num_events / max(num_items, 1), 1.0)
    return float(np.round(np.clip(0.5 - 0.5 * (np.log10(events_per_item) - 1.2), 0.2, 0.5), 2))
