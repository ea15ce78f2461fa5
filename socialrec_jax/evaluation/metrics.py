"""Ranking metrics from the ranks of held-out items, vectorised over millions of queries.

A query has one or more targets. The rank of a target (1 = best) counts ties against the model.
Metrics are values a query, so that means, intervals and segments come from the same numbers.
"""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.csr import sorted_distinct


def per_query(
    ranks: np.ndarray, offsets: np.ndarray, cutoffs: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Metrics [Q] of each query whose targets have ranks[offsets[q]:offsets[q + 1]], at each cutoff
    k. Each query needs at least one target.

    hr: 1 if a target is in the top k. recall: share of the targets that are. precision: share of
    the top k that are targets. f1: harmonic mean of these two. ndcg: binary gains 1 / log2(1 +
    rank), divided by what min(k, targets) perfect ranks would give. mrr: 1 / best rank if that is
    in the top k.
    """
    metrics: dict[str, np.ndarray] = {}
    for k in cutoffs:
        metrics |= _metrics_at(k, ranks, offsets)
    return metrics


def _metrics_at(k: int, ranks: np.ndarray, offsets: np.ndarray) -> dict[str, np.ndarray]:
    # A query without hits is 0 in all of them.
    hits = _sum_by_query(ranks <= k, offsets)
    recall = hits / np.diff(offsets)
    precision = hits / k
    # Without a hit both are 0, and so is f1.
    f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-12)
    return {
        f"hr@{k}": (hits > 0).astype(float),
        f"ndcg@{k}": _ndcg(k, ranks, offsets),
        f"recall@{k}": recall,
        f"precision@{k}": precision,
        f"f1@{k}": f1,
        f"mrr@{k}": _reciprocal_rank(k, ranks, offsets),
    }


def _ndcg(k: int, ranks: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    # More targets than places cannot all be in the top k.
    num_targets = np.diff(offsets)
    gains = np.where(ranks <= k, 1 / np.log2(1.0 + ranks), 0.0)
    ideal_gains = _ideal_gains(k)[np.minimum(k, num_targets)]
    return _sum_by_query(gains, offsets) / ideal_gains


def _reciprocal_rank(k: int, ranks: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    if len(offsets) == 1:  # reduceat needs a query
        return np.zeros(0)
    best_rank = np.minimum.reduceat(ranks, offsets[:-1])
    return np.where(best_rank <= k, 1 / best_rank, 0.0)


def _sum_by_query(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    # Differences of a running sum add all queries at once.
    cumulative = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return cumulative[offsets[1:]] - cumulative[offsets[:-1]]


def _ideal_gains(k: int) -> np.ndarray:
    """Sum of the first n gains, n = 0..k."""
    ranks = np.arange(1, k + 1)
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(1.0 + ranks))])


def summarise(metrics: dict[str, np.ndarray]) -> dict[str, float]:
    """Means over the queries; 0 where there are none."""
    return {name: float(values.mean()) if len(values) else 0.0 for name, values in metrics.items()}


def bootstrap_interval(
    values: np.ndarray, seed: int = 0, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean of values [Q], from resampled queries."""
    rng = np.random.default_rng(seed)
    num_queries = len(values)

    # A resample of Q queries is a multinomial over the distinct values. That is cheap, because
    # metrics take few different values.
    distinct, counts = np.unique(values, return_counts=True)
    resampled_counts = rng.multinomial(num_queries, counts / num_queries, size=draws)
    means = resampled_counts @ distinct / num_queries

    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def coverage(top_items: np.ndarray, num_items: int) -> float:
    """Share of the catalogue that appears in some user's top_items [Q, k]."""
    return len(sorted_distinct(top_items.reshape(-1))) / num_items


def novelty(top_items: np.ndarray, item_counts: np.ndarray) -> float:
    """Mean surprise -log2(share of all events) in bits of top_items [Q, k]; items without events
    count as one.
    """
    # An item without events would surprise infinitely.
    shares = np.maximum(item_counts, 1) / max(item_counts.sum(), 1)
    return float(-np.log2(shares)[top_items].mean()) if top_items.size else 0.0
