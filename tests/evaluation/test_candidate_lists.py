"""Ranks and labels of candidates follow the naive definition, in whatever order they come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import TEST
from socialrec_jax.evaluation import candidate_lists
from socialrec_jax.evaluation.protocol import EvaluationQueries, held_out
from socialrec_jax.inference.index import UNRANKED
from tests.evaluation.dense import evaluate_dense
from tests.worlds import events_of

V = 30


def queries_of(targets: list[list[int]]) -> EvaluationQueries:
    """Queries without a history."""
    Q, offsets = len(targets), np.concatenate([[0], np.cumsum([len(t) for t in targets])])
    items = np.array([item for t in targets for item in t], np.int32)
    seen = Pairs(np.zeros(Q + 1, np.int64), items[:0])
    none = np.zeros(Q, np.int64)
    query = Query(events_of([[]] * Q), np.arange(Q), history_ends=none, query_times=none)
    return EvaluationQueries(
        query, seen, Pairs(offsets, items), np.arange(len(items)), 0, np.arange(V)
    )


@pytest.fixture
def problem():
    """(items [Q, C], values with ties and ends, best first, queries)."""
    rng = np.random.default_rng(0)
    targets = [rng.permutation(V)[: rng.integers(1, 5)].tolist() for _ in range(50)]
    items = np.stack([rng.permutation(V)[:22] for _ in range(50)]).astype(np.int32)
    values = -np.sort(-rng.integers(0, 6, (50, 22)).astype(np.float32), axis=1)
    values[np.arange(22)[None] >= rng.integers(12, 23, 50)[:, None]] = -np.inf
    return items, values, queries_of(targets)


def naive_ranks(items, values, queries) -> list[int]:
    ranks = []
    for q in range(len(queries)):
        listed = [
            (v, i)
            for v, i in zip(values[q].tolist(), items[q].tolist(), strict=True)
            if v > -np.inf
        ]
        for target in queries.targets.items[slice(*queries.targets.offsets[q : q + 2])]:
            own = [v for v, i in listed if i == target]
            ranks.append(sum(v >= own[0] for v, _ in listed) if own else UNRANKED)
    return ranks


def test_ranks_in_lists_are_those_of_the_naive_definition(problem):
    items, values, queries = problem
    result = candidate_lists.evaluate_lists(items, values, queries, V)
    expected = naive_ranks(items, values, queries)
    assert result.ranks.tolist() == expected
    assert UNRANKED in expected
    hits = [min(expected[a:b]) <= 10 for a, b in itertools.pairwise(queries.targets.offsets)]
    assert result.metrics["hr@10"] == pytest.approx(np.mean(hits))


def test_the_order_of_a_list_does_not_matter(problem):
    items, values, queries = problem
    order = np.random.default_rng(1).permuted(np.tile(np.arange(22), (50, 1)), axis=1)
    shuffled = (np.take_along_axis(x, order, 1) for x in (items, values))
    result = candidate_lists.evaluate_unsorted(*shuffled, queries, V)
    np.testing.assert_array_equal(
        result.ranks, candidate_lists.evaluate_lists(items, values, queries, V).ranks
    )


def test_a_list_of_the_whole_catalogue_ranks_as_scores_do(world):
    queries, V = held_out(world, TEST), world.num_items
    values = np.random.default_rng(0).integers(0, 9, (len(queries), V)).astype(np.float32)
    for q in range(len(queries)):
        values[q, queries.seen.items[slice(*queries.seen.offsets[q : q + 2])]] = -np.inf
    everything = np.tile(np.arange(V, dtype=np.int32), (len(queries), 1))
    result = candidate_lists.evaluate_unsorted(everything, values, queries, V)
    np.testing.assert_array_equal(result.ranks, evaluate_dense(values, queries).ranks)


def test_labels_mark_the_held_out_events_of_candidates(problem):
    items, values, queries = problem
    types = np.random.default_rng(2).integers(0, 3, len(queries.targets.items))
    exists = np.isfinite(values)
    labels = candidate_lists.labels(items, exists, queries, types, 3)
    expected = np.zeros((*items.shape, 3))
    for q in range(len(queries)):
        for m in range(*queries.targets.offsets[q : q + 2]):
            for c in range(items.shape[1]):
                if exists[q, c] and items[q, c] == queries.targets.items[m]:
                    expected[q, c, types[m]] = 1
    np.testing.assert_array_equal(labels, expected)
    assert labels.sum() > 20
