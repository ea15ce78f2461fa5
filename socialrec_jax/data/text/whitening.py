"""Whitening: a linear map after which every direction of the vectors counts alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from socialrec_jax.shapes import Array, Bools, Floats, typed

_FLAT = 1e-6  # a direction with less than this share of the greatest variance is left out


@dataclasses.dataclass(frozen=True)
class Whitening:
    """Principal components, each scaled to variance 1.

    Neighbours by raw vectors are ruled by the few directions that all of them share. It is fitted
    once and kept, so that new vectors come into the space of the old ones.
    """

    mean: np.ndarray  # [D] float64
    directions: np.ndarray  # [D, F] float64, the greatest variance first
    scales: np.ndarray  # [F] float64, 0 for a direction without variance

    @classmethod
    def fit(cls, vectors: np.ndarray, width: int) -> Whitening:
        """The first F = min(width, D) components of vectors [n, D]; scales of 0 for n = 0."""
        rows = np.asarray(vectors, np.float64)
        D = rows.shape[1]
        width = min(width, D)
        if not len(rows):
            return cls(np.zeros(D), np.zeros((D, width)), np.zeros(width))
        mean = rows.mean(0)
        centred = rows - mean
        covariance = centred.T @ centred / len(rows)
        variances, directions = np.linalg.eigh(covariance)
        # The greatest come last.
        variances, directions = variances[::-1][:width], directions[:, ::-1][:, :width]
        least = max(_FLAT * variances.max(initial=0), np.finfo(np.float64).tiny)
        varies = variances > least
        scales = np.where(varies, 1 / np.sqrt(np.where(varies, variances, 1)), 0)
        return cls(mean, directions, scales)

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """White vectors [n, F] float32 of vectors [n, D]."""
        centred = np.asarray(vectors, np.float64) - self.mean
        white = (centred @ self.directions) * self.scales
        return white.astype(np.float32)

    def save(self, file: Path) -> None:
        """Write to file (.npz)."""
        np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, file: Path) -> Whitening:
        with np.load(file) as columns:
            return cls(**columns)


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
