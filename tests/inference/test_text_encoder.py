"""Pooling reads each text alone, and a kept encoder gives known texts their stored vectors."""

from __future__ import annotations

import itertools

import jax
import numpy as np

from socialrec_jax.data.text.tokenizer import Texts
from socialrec_jax.inference import text_encoder
from socialrec_jax.inference.text_encoder import inverse_document_frequencies, pool
from socialrec_jax.models.gpt2 import GPT2, GPT2Sizes


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
