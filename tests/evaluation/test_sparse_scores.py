"""Ranks and lists by sparse scores are those of dense scores under the protocol."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.world import TEST
from socialrec_jax.evaluation import protocol, sparse_scores
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.evaluation.sparse_scores import PopularList, evaluate_sparse
from socialrec_jax.inference.index import UNRANKED
from tests.worlds import random_world

K = 20


def row_of(pairs: Pairs, query: int) -> np.ndarray:
    return pairs.items[pairs.offsets[query] : pairs.offsets[query + 1]]


def dense_ranks(scores: np.ndarray, queries: EvaluationQueries) -> np.ndarray:
    """Masked scores in full; a target counts everything that scores as high."""
    ranks = []
    for query in range(len(queries)):
        masked = scores[query].astype(float)
        masked[row_of(queries.seen, query)] = -np.inf
        for target in row_of(queries.targets, query):
            is_seen = np.isneginf(masked[target])
            ranks.append(UNRANKED if is_seen else np.sum(masked >= masked[target]))
    return np.array(ranks)


def dense_top(scores: np.ndarray, queries: EvaluationQueries) -> np.ndarray:
    """The first K items of a stable sort of the masked scores."""
    masked = scores.astype(float)
    for query in range(len(queries)):
        masked[query, row_of(queries.seen, query)] = -np.inf
    return np.argsort(-masked, axis=1, kind="stable")[:, :K]


def several_targets(queries: EvaluationQueries, num_items: int, rng) -> EvaluationQueries:
    """The queries with 1 to 5 targets each, some of which were seen before."""
    counts = rng.integers(1, 6, len(queries))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    items = rng.integers(0, num_items, offsets[-1]).astype(np.int32)
    changed = {"targets": Pairs(offsets, items), "target_rows": np.arange(len(items))}
    return EvaluationQueries(**(vars(queries) | changed))


@pytest.fixture(params=range(4))
def problem(request, tmp_path):
    """(queries, random numbers, number of items) of random worlds, small catalogues among them."""
    rng = np.random.default_rng(request.param)
    num_items = (40, 300, 24, 90)[request.param]
    world = random_world(tmp_path, num_items=num_items, seed=request.param)
    return several_targets(protocol.held_out(world, TEST), num_items, rng), rng, num_items


def scores_with_ties(rng, num_queries: int, num_items: int, share: float) -> np.ndarray:
    values = rng.integers(0, 6, (num_queries, num_items)) / 7
    values = np.where(rng.random(values.shape) < share, values, 0).astype(np.float32)
    values[0] = 0
    return values


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_ranks_and_lists_are_those_of_dense_scores(problem, share):
    queries, rng, num_items = problem
    scores = scores_with_ties(rng, len(queries), num_items, share)
    ranks, top = sparse_scores.ranks_by_scores(sparse.csr_array(scores), queries, K)
    np.testing.assert_array_equal(ranks, dense_ranks(scores, queries))
    np.testing.assert_array_equal(top, dense_top(scores, queries))
    assert (ranks == UNRANKED).any()


@pytest.mark.parametrize("chunk", [7, 512])
def test_sparse_evaluation_equals_the_index(problem, monkeypatch, chunk):
    queries, rng, num_items = problem
    scores = scores_with_ties(rng, queries.query.events.num_users, num_items, 0.3)
    monkeypatch.setattr(sparse_scores, "_QUERIES_AT_ONCE", chunk)
    found = evaluate_sparse(lambda part: sparse.csr_array(scores[part.users]), queries, num_items)
    np.testing.assert_array_equal(found.ranks, dense_ranks(scores[queries.users], queries))


@pytest.mark.parametrize("chunk", [7, 512])
@pytest.mark.parametrize("kind", ["ties", "distinct"])
def test_ranks_by_popularity_are_those_of_dense_scores(problem, monkeypatch, kind, chunk):
    queries, rng, num_items = problem
    monkeypatch.setattr(sparse_scores, "_QUERIES_AT_ONCE", chunk)
    values = rng.integers(0, 5, num_items) if kind == "ties" else rng.normal(size=num_items)
    popularity = values.astype(np.float32)
    alike = np.broadcast_to(popularity, (len(queries), num_items))
    found = PopularList.of(popularity).evaluate(queries)
    np.testing.assert_array_equal(found.ranks, dense_ranks(alike, queries))
    coverage = len(np.unique(dense_top(alike, queries))) / num_items
    assert found.metrics["coverage@20"] == coverage
