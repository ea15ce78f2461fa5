"""Texts of any language come back as they were, in the same tokens every time."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.text.text_batches import TextBatches
from socialrec_jax.data.text.tokenizer import (
    load_tokenizer,
    product_texts,
    tokenize,
    train_tokenizer,
)

TITLES = [
    "无线蓝牙降噪耳机",
    "سماعات لاسلكية مانعة للضوضاء",
    "Ñandú — 5.0, red !",
    "👩‍👩‍👧 🎧 gift",
    "a  b\n\tc <eos>",
]
TOKENIZER = train_tokenizer(TITLES * 3, 400)


def decoded(tokens: np.ndarray) -> str:
    return TOKENIZER.decode(tokens.tolist())


def test_every_language_round_trips():
    texts = tokenize(TOKENIZER, TITLES[:4], 500)
    for title, begin, end in zip(TITLES, texts.offsets[:-1], texts.offsets[1:], strict=False):
        assert decoded(texts.tokens[begin:end]) == title + "<eos>"


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda s: "<" not in s))
def test_any_text_round_trips(text):
    assert decoded(tokenize(TOKENIZER, [text], 10_000).tokens) == text + "<eos>"


def test_training_is_deterministic_and_padded_nowhere(tmp_path):
    other = train_tokenizer(TITLES * 3, 400)
    assert other.get_vocab() == TOKENIZER.get_vocab()
    before = tokenize(other, TITLES, 64)
    other.save_pretrained(tmp_path)
    after = tokenize(load_tokenizer(tmp_path), TITLES, 64)
    np.testing.assert_array_equal(before.tokens, after.tokens)
    assert '"padding": null' in (tmp_path / "tokenizer.json").read_text()


def test_a_text_is_cut_before_its_end_and_an_empty_one_has_none():
    texts = tokenize(TOKENIZER, ["", TITLES[0] * 9, "", "a"], 8)
    assert texts.lengths.tolist() == [0, 8, 0, 2]
    assert (texts.tokens[[7, 9]] == TOKENIZER.eos_token_id).all()


def test_a_product_text_joins_what_is_known(world):
    blank = [""] * world.num_items
    items = dataclasses.replace(
        world.items,
        titles=Strings.of(["Lamp", "", *blank[2:]]),
        tags=Strings.of(["red|small", "", "|one|", *blank[3:]]),
        descriptions=Strings.of(["It glows.", *blank[1:]]),
    )
    assert product_texts(items)[:4] == ["Lamp\nred, small\nIt glows.", "", "one", ""]


def test_every_epoch_holds_every_text_once_in_new_company():
    texts = tokenize(TOKENIZER, [*TITLES, ""] * 20, 40)
    batches = TextBatches(texts, 64, 4, seed=3)
    epochs = [
        [batches.at(e * batches.steps_per_epoch + k) for k in range(batches.steps_per_epoch)]
        for e in (0, 1)
    ]
    counts = [
        sum(np.bincount(b.tokens[b.segments > 0], minlength=400) for b in epoch) for epoch in epochs
    ]
    for count in counts:
        np.testing.assert_array_equal(count, np.bincount(texts.tokens, minlength=400))
    assert not all((a.tokens == b.tokens).all() for a, b in zip(*epochs, strict=True))
    halves = [batches.at(1, process, 2) for process in (0, 1)]
    np.testing.assert_array_equal(
        np.concatenate([half.tokens for half in halves]), batches.at(1).tokens
    )
