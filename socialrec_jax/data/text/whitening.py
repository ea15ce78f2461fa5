"""Whitening: a linear map after which every direction of the vectors counts alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from socialrec_jax.shapes import Array, Bools, Floats, typed

_ROWS_AT_ONCE = 8192  # of vectors in float64; bounds memory
_FLAT = 1e-6  # a direction with less than this share of the greatest variance is left out


@dataclasses.dataclass(frozen=True)
class Whitening:
    """Principal components, each scaled to variance 1.

    Neighbours by raw vectors are ruled by the few directions that all of them share. It is fitted
    once and kept, so that new vectors come into the space of the old ones.

    The entry of largest absolute value of each direction is positive. An eigenvector's sign is
    arbitrary: vectors that differ in their last digit could turn it, and a model that is trained on
    the white vectors would start from another space.
    """

    mean: np.ndarray  # [D] float64
    directions: np.ndarray  # [D, F] float64, the greatest variance first
    scales: np.ndarray  # [F] float64, 0 for a direction without variance

    @classmethod
    def fit(cls, vectors: np.ndarray, width: int) -> Whitening:
        """The first F = min(width, D) components of vectors [n, D]; scales of 0 for n = 0."""
        D = vectors.shape[1]
        width = min(width, D)
        if not len(vectors):
            return cls(np.zeros(D), np.zeros((D, width)), np.zeros(width))
        mean, covariance = _mean_and_covariance(vectors)
        variances, directions = np.linalg.eigh(covariance)
        # The greatest come last.
        variances, directions = variances[::-1][:width], directions[:, ::-1][:, :width]
        directions = _with_canonical_signs(directions)
        least = max(_FLAT * variances.max(initial=0), np.finfo(np.float64).tiny)
        varies = variances > least
        scales = np.where(varies, 1 / np.sqrt(np.where(varies, variances, 1)), 0)
        return cls(mean, directions, scales)

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """White vectors [n, F] float32 of vectors [n, D]."""
        white = np.zeros((len(vectors), len(self.scales)), np.float32)
        for part, rows in _chunks(vectors):
            white[part] = ((rows - self.mean) @ self.directions) * self.scales
        return white

    def save(self, file: Path) -> None:
        """Write to file (.npz)."""
        np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, file: Path) -> Whitening:
        with np.load(file) as columns:
            return cls(**columns)


def _chunks(vectors: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """(which rows, these rows in float64) of successive chunks of vectors [n, D]."""
    for begin in range(0, len(vectors), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        yield part, np.asarray(vectors[part], np.float64)


def _mean_and_covariance(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and covariance [D, D] float64 of vectors [n, D], n > 0."""
    n, D = vectors.shape
    total = np.zeros(D)
    for _, rows in _chunks(vectors):
        total += rows.sum(axis=0)
    mean = total / n

    # Products of centred rows: those of the rows themselves would cancel.
    products = np.zeros((D, D))
    for _, rows in _chunks(vectors):
        centred = rows - mean
        products += centred.T @ centred
    return mean, products / n


def _with_canonical_signs(directions: np.ndarray) -> np.ndarray:
    """Directions [D, F], each turned so that its entry of largest absolute value is positive."""
    if not directions.size:
        return directions
    largest = np.abs(directions).argmax(axis=0)
    entries = np.take_along_axis(directions, largest[None], axis=0)
    return directions * np.where(entries < 0, -1.0, 1.0)


@typed
def whiten_known(
    whitening: Whitening, vectors: Floats[Array, "V D"], known: Bools[Array, "V"]
) -> Floats[np.ndarray, "V F"]:
    """White rows of length 1 where known, zeros elsewhere."""
    white = np.zeros((len(vectors), len(whitening.scales)), np.float32)
    white[known] = whitening.apply(np.asarray(vectors)[known])
    return unit_rows(white)


@typed
def unit_rows(vectors: Floats[Array, "V F"]) -> Floats[np.ndarray, "V F"]:
    """Each row of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
