"""Metrics agree with a naive loop, with ir-measures, and with hand-made cases."""

import itertools
import math

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, P, R, Success, nDCG

from socialrec_jax.evaluation import metrics

HUGE = np.iinfo(np.int32).max


def naive(ranks, offsets, k):
    rows = []
    for begin, end in itertools.pairwise(offsets):
        top = sorted(int(r) for r in ranks[begin:end] if r <= k)
        n = int(end - begin)
        ideal = sum(1 / math.log2(r + 1) for r in range(1, min(k, n) + 1))
        precision, recall = len(top) / k, len(top) / n
        rows.append(
            {
                f"hr@{k}": float(bool(top)),
                f"ndcg@{k}": sum(1 / math.log2(r + 1) for r in top) / ideal,
                f"recall@{k}": recall,
                f"precision@{k}": precision,
                f"f1@{k}": 2 * precision * recall / (precision + recall) if top else 0.0,
                f"mrr@{k}": 1 / top[0] if top else 0.0,
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.fixture
def ranked():
    """(ranks, offsets) of 300 queries with 1..4 targets at different ranks, some unranked."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, 300)
    ranks = np.concatenate([rng.permutation(30)[:n] + 1 for n in counts])
    ranks[rng.random(len(ranks)) < 0.1] = HUGE
    return ranks, np.concatenate([[0], np.cumsum(counts)])


@pytest.mark.parametrize("k", [1, 10, 20])
def test_vectorised_equals_naive(ranked, k):
    vectorised, loop = metrics.per_query(*ranked, (k,)), naive(*ranked, k)
    assert vectorised.keys() == loop.keys()
    for name, values in loop.items():
        np.testing.assert_allclose(vectorised[name], values, atol=1e-12, err_msg=name)


def test_ir_measures_agrees(ranked):
    ranks, offsets = ranked
    evaluated, run = [], []
    for query, (begin, end) in enumerate(itertools.pairwise(offsets)):
        named = {int(r): f"target{i}" for i, r in enumerate(ranks[begin:end]) if r < HUGE}
        evaluated += [ir_measures.Qrel(str(query), f"target{i}", 1) for i in range(end - begin)]
        run += [
            ir_measures.ScoredDoc(str(query), named.get(r, f"other{r}"), -float(r))
            for r in range(1, 31)
        ]
    expected = ir_measures.calc_aggregate(
        [nDCG @ 10, P @ 10, R @ 10, RR @ 10, Success @ 10], evaluated, run
    )
    means = metrics.summarise(metrics.per_query(ranks, offsets, (10,)))
    names = {
        nDCG @ 10: "ndcg@10",
        P @ 10: "precision@10",
        R @ 10: "recall@10",
        RR @ 10: "mrr@10",
        Success @ 10: "hr@10",
    }
    for measure, name in names.items():
        assert means[name] == pytest.approx(expected[measure], abs=1e-9), name


def test_hand_made():
    values = metrics.per_query(np.array([1, 11, 2]), np.array([0, 2, 3]), (10,))
    assert values["ndcg@10"].tolist() == pytest.approx(
        [1 / (1 + 1 / math.log2(3)), 1 / math.log2(3)]
    )
    assert values["recall@10"].tolist() == [0.5, 1.0]
    assert values["precision@10"].tolist() == [0.1, 0.1]
    assert values["mrr@10"].tolist() == [1.0, 0.5]


def test_an_interval_holds_the_mean_and_shrinks_with_more_queries():
    values = (np.random.default_rng(0).random(4000) < 0.1).astype(float)
    low, high = metrics.bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.1 * 0.9 / 4000), rel=0.15)
    wide = metrics.bootstrap_interval(values[:400])
    assert wide[1] - wide[0] > 2 * (high - low)


def test_coverage_and_novelty():
    assert metrics.coverage(np.array([[0, 1], [1, 2]]), 10) == 0.3
    assert metrics.novelty(np.array([[0, 1]]), np.array([8, 0])) == pytest.approx(1.5)
    assert metrics.summarise({"hr@10": np.zeros(0)}) == {"hr@10": 0.0}
