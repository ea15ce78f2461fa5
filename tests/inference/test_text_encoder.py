"""Pooling reads each text alone, and whitening leaves no direction that counts more than
another.
"""

from __future__ import annotations

import itertools

import jax
import numpy as np

from socialrec_jax.data.text.tokenizer import Texts
from socialrec_jax.data.text.whitening import unit_rows, whiten
from socialrec_jax.inference import text_encoder
from socialrec_jax.inference.text_encoder import pool
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
    pooled = pool(model, params, texts, 16)
    tokens_of = [texts.tokens[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    read = jax.jit(model.apply)
    for i, length in enumerate(lengths):
        tokens, segments = np.zeros((2, 1, 16), np.int32)
        tokens[0, :length], segments[0, :length] = texts.tokens[offsets[i] : offsets[i + 1]], 1
        states = np.asarray(read({"params": params}, tokens, segments))[0, :length]
        weights = [np.log(8 / sum(token in other for other in tokens_of)) for token in tokens_of[i]]
        expected = np.average(states, 0, weights) if length else 0
        np.testing.assert_allclose(pooled[i], expected, atol=1e-5)


def test_whitened_rows_have_unit_covariance_and_unknown_ones_are_zeros():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 8)) @ rng.normal(size=(8, 12)) + 3).astype(
        np.float32
    )  # 8 of 12 directions
    known = rng.random(500) < 0.8
    white = whiten(vectors, 6, known)
    assert white.shape == (500, 6)
    assert not white[~known].any()
    np.testing.assert_allclose(white[known].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white[known].T, bias=True), np.eye(6), atol=1e-3)
    assert not whiten(vectors, 12, known)[:, 8:].any()
    lengths = np.linalg.norm(unit_rows(white), axis=1)
    np.testing.assert_allclose(lengths, known, atol=1e-6)


def test_whitening_survives_what_has_no_variance():
    nobody, everybody = np.zeros(4, bool), np.ones(4, bool)
    same = np.ones((4, 3), np.float32)
    for vectors, known in ((same, nobody), (same, everybody), (same[:, :0], everybody)):
        assert not whiten(vectors, 2, known).any()
