"""Lists are judged as the naive definition says, and everybody by a ranker that did not learn from
them.
"""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from socialrec_jax.batch import Candidates
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import TEST
from socialrec_jax.evaluation import candidate_lists
from socialrec_jax.evaluation.protocol import EvaluationQueries, evaluate_scorer, held_out
from socialrec_jax.inference.index import UNRANKED
from socialrec_jax.models.ranker import Ranker, scores
from tests.worlds import events_of

V = 30


def queries_of(targets: list[list[int]]) -> EvaluationQueries:
    """Queries without a past."""
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
    evaluated = candidate_lists.evaluate_lists(items, values, queries, V)
    expected = naive_ranks(items, values, queries)
    assert evaluated.ranks.tolist() == expected
    assert UNRANKED in expected
    hits = [min(expected[a:b]) <= 10 for a, b in itertools.pairwise(queries.targets.offsets)]
    assert evaluated.metrics["hr@10"] == pytest.approx(np.mean(hits))


def test_lists_in_any_order_are_judged_alike(problem):
    items, values, queries = problem
    order = np.random.default_rng(1).permuted(np.tile(np.arange(22), (50, 1)), axis=1)
    shuffled = (np.take_along_axis(x, order, 1) for x in (items, values))
    found = candidate_lists.evaluate_unsorted(*shuffled, queries, V)
    np.testing.assert_array_equal(
        found.ranks, candidate_lists.evaluate_lists(items, values, queries, V).ranks
    )


def test_a_list_of_the_whole_catalogue_is_judged_as_scores_are(world):
    queries, V = held_out(world, TEST), world.num_items
    values = np.random.default_rng(0).integers(0, 9, (len(queries), V)).astype(np.float32)
    for q in range(len(queries)):
        values[q, queries.seen.items[slice(*queries.seen.offsets[q : q + 2])]] = -np.inf
    everything = np.tile(np.arange(V, dtype=np.int32), (len(queries), 1))
    found = candidate_lists.evaluate_unsorted(everything, values, queries, V)
    np.testing.assert_array_equal(found.ranks, evaluate_scorer(lambda q: values, queries, V).ranks)


def test_labels_say_what_was_done_to_which_candidate(problem):
    items, values, queries = problem
    types = np.random.default_rng(2).integers(0, 3, len(queries.targets.items))
    exists = np.isfinite(values)
    found = candidate_lists.labels(items, exists, queries, types, 3)
    expected = np.zeros((*items.shape, 3))
    for q in range(len(queries)):
        for m in range(*queries.targets.offsets[q : q + 2]):
            for c in range(items.shape[1]):
                if exists[q, c] and items[q, c] == queries.targets.items[m]:
                    expected[q, c, types[m]] = 1
    np.testing.assert_array_equal(found, expected)
    assert found.sum() > 20


def test_everybody_is_scored_by_the_ranker_asked_for(monkeypatch):
    monkeypatch.setattr(candidate_lists, "_QUERIES_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    Q, C, D, S, M = 25, 6, 4, 3, 3
    asked = Candidates(
        states=rng.normal(size=(Q, D)).astype(np.float32),
        items=rng.integers(0, V, (Q, C)).astype(np.int32),
        exists=rng.random((Q, C)) < 0.8,
        features=rng.normal(size=(Q, C, S)).astype(np.float32),
    )
    ranker, catalogue, members = (
        Ranker(2, 1),
        rng.normal(size=(V, D)).astype(np.float32),
        rng.integers(1, M, Q),
    )
    touch = lambda r, a, c: r(a, r.project(c))  # noqa: E731
    fresh = jax.jit(lambda key: ranker.init(key, asked, catalogue, method=touch)["params"])(
        jax.random.key(0)
    )
    params = jax.tree.map(lambda p: rng.normal(size=(M, *p.shape)).astype(np.float32), fresh)
    found = candidate_lists.OutOfFold(ranker, asked, members, catalogue)(params)

    def all_by(member: int) -> np.ndarray:
        bound = ranker.bind({"params": jax.tree.map(lambda p: p[member], params)})
        return np.where(asked.exists, scores(bound(asked, bound.project(catalogue))), -np.inf)

    for member in (1, 2):
        mine, on = members == member, asked.exists[members == member]
        np.testing.assert_allclose(found[mine], all_by(member)[mine], rtol=1e-4, atol=1e-4)
        assert np.abs(found[mine][on] - all_by(3 - member)[mine][on]).max() > 1e-2
