"""How sure are we? Quantiles, block medians, a bootstrap of the ratio of medians, and the
Mann-Whitney test.

Successive rounds are no independent draws: a neighbour that takes the cores slows many of them. So
whatever is said of two runs is said of medians of blocks of successive rounds.
"""

from __future__ import annotations

import math

import numpy as np

NOISY = 0.25  # of (p90 - p10) / p50: above, a table warns
_BLOCKS = 8
_RESAMPLES = 2000


def quantiles(seconds: list[float]) -> tuple[float, float, float, float]:
    p10, p50, p90, p99 = np.quantile(seconds, [0.1, 0.5, 0.9, 0.99])
    return float(p10), float(p50), float(p90), float(p99)


def spread(seconds: list[float]) -> float:
    """(p90 - p10) / p50."""
    p10, p50, p90, _ = quantiles(seconds)
    return (p90 - p10) / p50


def block_medians(values: np.ndarray, blocks: int = _BLOCKS) -> np.ndarray:
    """Medians [<= blocks] of stretches of successive values."""
    return np.array([np.median(part) for part in np.array_split(values, min(blocks, len(values)))])


def ratio_interval(old: np.ndarray, new: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """median(new) / median(old) and its 99% bootstrap interval (ratio, low, high) over blocks."""
    rng = np.random.default_rng(seed)
    olds, news = (
        np.median(x[rng.integers(0, len(x), (_RESAMPLES, len(x)))], axis=1) for x in (old, new)
    )
    low, high = np.quantile(news / olds, [0.005, 0.995])
    return float(np.median(new) / np.median(old)), float(low), float(high)


def mann_whitney(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value that a and b come from one distribution; normal approximation, ties and
    continuity corrected.

    Mann and Whitney 1947; the variance under ties is Lehmann's, "Nonparametrics" (1975), eq. 1.58.
    """
    n, m = len(a), len(b)
    values = np.concatenate([a, b])
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
    u = ranks[:n].sum() - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - (counts**3 - counts).sum() / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = max(0.0, abs(u - n * m / 2) - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))
