"""Every user is scored by a ranker that did not learn from them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from socialrec_jax.batch import Candidates
from socialrec_jax.evaluation import out_of_fold
from socialrec_jax.evaluation.evaluator import RankerEvaluator
from socialrec_jax.evaluation.out_of_fold import OutOfFoldScorer
from socialrec_jax.models.ranker import Ranker, scores
from tests.evaluation.test_candidate_lists import V, queries_of

Q, C, D, NUM_FEATURES, MEMBERS = 25, 6, 4, 3, 3
RANKER = Ranker(2, 1)


@pytest.fixture
def problem(monkeypatch):
    """(scorer, params of all members), with several chunks of queries a member."""
    monkeypatch.setattr(out_of_fold, "_QUERIES_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    candidates = Candidates(
        states=rng.normal(size=(Q, D)).astype(np.float32),
        items=rng.integers(0, V, (Q, C)).astype(np.int32),
        exists=rng.random((Q, C)) < 0.8,
        features=rng.normal(size=(Q, C, NUM_FEATURES)).astype(np.float32),
    )
    catalogue = rng.normal(size=(V, D)).astype(np.float32)
    members = rng.integers(1, MEMBERS, Q)
    call = lambda ranker, c, items: ranker(c, ranker.project(items))  # noqa: E731
    init = jax.jit(lambda key: RANKER.init(key, candidates, catalogue, method=call)["params"])
    params = jax.tree.map(
        lambda p: rng.normal(size=(MEMBERS, *p.shape)).astype(np.float32), init(jax.random.key(0))
    )
    return OutOfFoldScorer(RANKER, candidates, members, catalogue), params


def scores_by(scorer: OutOfFoldScorer, params: dict, member: int) -> np.ndarray:
    """Scores [Q, C] of all queries by one ranker."""
    bound = RANKER.bind({"params": jax.tree.map(lambda p: p[member], params)})
    logits = bound(scorer.candidates, bound.project(scorer.catalogue))
    return np.where(scorer.candidates.exists, scores(logits), -np.inf)


def test_each_query_is_scored_by_its_member(problem):
    scorer, params = problem
    values = scorer(params)
    for member in (1, 2):
        chosen = scorer.members == member
        exists = scorer.candidates.exists[chosen]
        own = scores_by(scorer, params, member)[chosen]
        other = scores_by(scorer, params, 3 - member)[chosen]
        np.testing.assert_allclose(values[chosen], own, rtol=1e-4, atol=1e-4)
        assert np.abs(values[chosen][exists] - other[exists]).max() > 1e-2


def test_the_evaluator_gives_the_metrics_of_these_scores(problem):
    scorer, params = problem
    best = np.argmax(scorer(params), axis=1)
    targets = scorer.candidates.items[np.arange(Q), best]
    evaluator = RankerEvaluator(scorer, queries_of([[item] for item in targets.tolist()]), V)
    result = evaluator.evaluate(params)
    assert evaluator.run(params) == result.metrics
    assert result.metrics["hr@10"] == 1
    assert result.per_query["ndcg@10"].shape == (Q,)
