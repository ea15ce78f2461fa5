"""Quantiles, block medians, a bootstrap of the ratio of medians, and the Mann-Whitney test.

Successive rounds are no independent draws: a program that takes the cores slows many of them. So
two runs are compared by the medians of blocks of successive rounds.
"""

from __future__ import annotations

import numpy as np

NOISY = 0.25  # of (p90 - p10) / p50: above, a table warns
_BLOCKS = 8
_RESAMPLES = 2000


def quantiles(seconds: list[float]) -> tuple[float, float, float, float]:
    """p10, p50, p90, p99."""
    p10, p50, p90, p99 = np.quantile(seconds, [0.1, 0.5, 0.9, 0.99])
    return float(p10), float(p50), float(p90), float(p99)


def spread(seconds: list[float]) -> float:
    """(p90 - p10) / p50."""
    p10, p50, p90, _ = quantiles(seconds)
    return (p90 - p10) / p50


def block_medians(values: np.ndarray, blocks: int = _BLOCKS) -> np.ndarray:
    """Medians [<= blocks] of stretches of successive values."""
    parts = np.array_split(values, min(blocks, len(values)))
    return np.array([np.median(part) for part in parts])


def ratio_interval(old: np.ndarray, new: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """median(new) / median(old) and its 99% bootstrap interval (ratio, low, high) over blocks."""
    rng = np.random.default_rng(seed)
    old_medians = _resampled_medians(old, rng)
    new_medians = _resampled_medians(new, rng)
    low, high = np.quantile(new_medians / old_medians, [0.005, 0.995])
    ratio = np.median(new) / np.median(old)
    return float(ratio), float(low), float(high)


def _resampled_medians(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Medians [_RESAMPLES] of draws with replacement."""
    chosen = rng.integers(0, len(values), (_RESAMPLES, len(values)))
    return np.median(values[chosen], axis=1)


def mann_whitney(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value that a and b come from one distribution (Mann and Whitney 1947)."""
    # scipy.stats takes most of a second to import, and only `compare` needs it.
    from scipy import stats

    values = np.concatenate([a, b])
    if (values == values[0]).all():
        return 1.0  # newer versions of scipy divide by the deviation, which is 0
    return float(stats.mannwhitneyu(a, b, method="asymptotic").pvalue)
