"""Whitening leaves no direction that counts more than another, and is kept for new vectors."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.text import whitening
from socialrec_jax.data.text.whitening import Whitening, whiten_known


def vectors_of(seed: int = 0, n: int = 500) -> np.ndarray:
    """Vectors [n, 12] in 8 directions."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(1).normal(size=(8, 12))
    return (rng.normal(size=(n, 8)) @ basis + 3).astype(np.float32)


def test_white_rows_have_unit_covariance():
    vectors = vectors_of()
    white = Whitening.fit(vectors, 6).apply(vectors)
    assert white.shape == (500, 6)
    assert white.dtype == np.float32
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-3)


def test_directions_without_variance_are_zeros():
    vectors = vectors_of()
    assert not Whitening.fit(vectors, 12).apply(vectors)[:, 8:].any()


def test_rows_are_of_length_one_where_known_and_zeros_elsewhere():
    vectors, known = vectors_of(), np.random.default_rng(2).random(500) < 0.8
    white = whiten_known(Whitening.fit(vectors[known], 6), vectors, known)
    np.testing.assert_allclose(np.linalg.norm(white, axis=1), known, atol=1e-6)


def test_new_vectors_come_into_the_space_of_the_old_ones(tmp_path):
    vectors = vectors_of()
    fitted = Whitening.fit(vectors, 6)
    fitted.save(tmp_path / "whitening.npz")
    kept = Whitening.load(tmp_path / "whitening.npz")
    np.testing.assert_array_equal(kept.apply(vectors), fitted.apply(vectors))
    new = vectors_of(seed=3)
    alone = np.concatenate([kept.apply(new[:1]), kept.apply(new[1:])])
    np.testing.assert_allclose(alone, kept.apply(new), atol=1e-5)


def test_what_has_no_variance_is_zeros():
    none, every = np.zeros(4, bool), np.ones(4, bool)
    same = np.ones((4, 3), np.float32)
    for vectors, known in ((same, none), (same, every), (same[:, :0], every)):
        fitted = Whitening.fit(vectors[known], 2)
        assert not whiten_known(fitted, vectors, known).any()


def test_a_last_digit_turns_no_direction():
    vectors = vectors_of()
    nearly = np.nextafter(vectors, np.float32(np.inf))
    directions = Whitening.fit(vectors, 6).directions
    np.testing.assert_allclose(Whitening.fit(nearly, 6).directions, directions, atol=1e-3)
    largest = np.abs(directions).argmax(axis=0)
    assert (directions[largest, np.arange(6)] > 0).all()


def test_chunks_of_rows_change_nothing(monkeypatch):
    vectors = vectors_of()
    whole = Whitening.fit(vectors, 6)
    expected = whole.apply(vectors)
    monkeypatch.setattr(whitening, "_ROWS_AT_ONCE", 64)
    parts = Whitening.fit(vectors, 6)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.scales, whole.scales, rtol=1e-9)
    np.testing.assert_allclose(parts.apply(vectors), expected, atol=1e-5)
