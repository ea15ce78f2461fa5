"""Pooling reads each text alone, and a kept encoder gives known texts their stored vectors."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from socialrec_jax.data.batching.layout import pack_windows
from socialrec_jax.data.text.tokenizer import Texts
from socialrec_jax.inference import text_encoder
from socialrec_jax.inference.text_encoder import inverse_document_frequencies, pool
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes
from socialrec_jax.runtime import parallel


def test_pooling_is_the_weighted_mean_over_the_text_alone(monkeypatch):
    monkeypatch.setattr(text_encoder, "_TOKENS_AT_ONCE", 32)  # several calls
    rng = np.random.default_rng(0)
    lengths = np.array([5, 0, 16, 3, 9, 1, 0, 12, 7])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    texts = Texts(offsets, rng.integers(0, 50, offsets[-1]).astype(np.int32))
    model = GPT2(GPT2Sizes(vocab_size=50, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    row = np.ones((1, 16), np.int32)
    params = model.init(jax.random.key(0), row, row)["params"]
    token_weights = inverse_document_frequencies(texts, 50)
    pooled = pool(model, params, texts, 16, token_weights)
    tokens_of = [texts.tokens[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    read = jax.jit(model.apply)
    for i, length in enumerate(lengths):
        tokens, segments = np.zeros((2, 1, 16), np.int32)
        tokens[0, :length], segments[0, :length] = texts.tokens[offsets[i] : offsets[i + 1]], 1
        states = np.asarray(read({"params": params}, tokens, segments))[0, :length]
        weights = [np.log(8 / sum(token in other for other in tokens_of)) for token in tokens_of[i]]
        expected = np.average(states, 0, weights) if length else 0
        np.testing.assert_allclose(pooled[i], expected, atol=1e-5)


def test_a_token_of_no_text_weighs_as_if_one_had_it():
    texts = Texts(np.array([0, 2, 2, 3]), np.array([1, 4, 4], np.int32))
    weights = inverse_document_frequencies(texts, 6)
    expected = np.log([3, 3, 3, 3, 3 / 2, 3])
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_each_text_is_found_in_the_rows_of_its_device(devices, monkeypatch):
    monkeypatch.setattr(parallel, "num_local_devices", lambda: devices)
    lengths = np.random.default_rng(0).integers(1, 9, 50)
    starts = np.cumsum(lengths) - lengths
    layout, last = pack_windows(starts, lengths, 8)
    order = np.argsort(last)
    places = text_encoder._TextPlaces.of(layout, last[order], rows_per_call=8)

    first_tokens = []
    for call, begin in enumerate(range(0, len(layout.segments), 8)):
        for device in range(devices):
            rows, segments, exists = (leaf[device] for leaf in places.of_call(call))
            first_row = begin + device * 8 // devices
            for row, segment in zip(rows[exists], segments[exists], strict=True):
                assert row < 8 // devices
                is_of_text = layout.segments[first_row + row] == segment
                first_tokens.append(layout.sources[first_row + row][is_of_text].min())
    np.testing.assert_array_equal(first_tokens, starts[order])
