"""Whitening: text vectors whose directions all count alike."""

from __future__ import annotations

import numpy as np

from socialrec_jax.shapes import Array, Bools, Floats, typed

_FLAT = 1e-6  # a direction with less than this share of the greatest variance is noise


@typed
def whiten(
    vectors: Floats[Array, "V D"], width: int, known: Bools[Array, "V"]
) -> Floats[np.ndarray, "V F"]:
    """The first F = min(width, D) principal components of the known rows, each of variance 1; other
    rows are zeros.

    Neighbours by raw states are ruled by the few directions that all texts share; after whitening
    every direction counts alike. A direction without variance is zeros.
    """
    rows = np.asarray(vectors[known], np.float64)
    width = min(width, vectors.shape[1])
    white = np.zeros((len(vectors), width), np.float32)
    if not len(rows):
        return white
    centred = rows - rows.mean(0)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(rows))
    variances, directions = variances[::-1][:width], directions[:, ::-1][:, :width]
    alive = variances > max(_FLAT * variances.max(initial=0), np.finfo(np.float64).tiny)
    white[known] = (centred @ directions) * np.where(
        alive, 1 / np.sqrt(np.where(alive, variances, 1)), 0
    )
    return white


@typed
def unit_rows(vectors: Floats[Array, "V F"]) -> Floats[np.ndarray, "V F"]:
    """Each row of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
