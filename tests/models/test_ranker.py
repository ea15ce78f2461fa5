"""A candidate is scored alone, and an initial ranker gives all candidates the same score."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.batch import Candidates
from socialrec_jax.models import ranker as module
from socialrec_jax.models.ranker import Ranker, Standardise, measure, scores

Q, C, V, D, S, A = 5, 7, 20, 8, 6, 3


@pytest.fixture(scope="module")
def problem():
    """(ranker, fresh parameters, moved ones, candidates, catalogue)."""
    rng = np.random.default_rng(0)
    candidates = Candidates(
        states=rng.normal(size=(Q, D)).astype(np.float32),
        items=rng.integers(0, V, (Q, C)).astype(np.int32),
        exists=rng.random((Q, C)) < 0.8,
        features=rng.normal(size=(Q, C, S)).astype(np.float32),
    )
    ranker, catalogue = Ranker(A, interactions=2), rng.normal(size=(V, D)).astype(np.float32)

    def call_all(ranker, candidates, catalogue):
        return ranker(candidates, ranker.project(catalogue))

    params = jax.jit(
        lambda key: ranker.init(key, candidates, catalogue, method=call_all)["params"]
    )(jax.random.key(0))
    moved = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)
    return ranker, params, moved, candidates, catalogue


def logits(problem, candidates, params=None) -> np.ndarray:
    ranker, _, moved, _, catalogue = problem
    return np.asarray(call(ranker)(moved if params is None else params, candidates, catalogue))


@functools.cache
def call(ranker: Ranker):
    """The ranker, compiled once a shape."""

    def compiled(params, candidates, catalogue):
        bound = ranker.bind({"params": params})
        return bound(candidates, bound.project(catalogue))

    return jax.jit(compiled)


def test_a_candidate_is_scored_alone(problem):
    candidates = problem[3]
    together = logits(problem, candidates)
    alone = [
        logits(
            problem,
            jax.tree.map(
                lambda x, c=c: x if x.ndim == 2 and x.shape[1] == D else x[:, [c]], candidates
            ),
        )
        for c in range(C)
    ]
    np.testing.assert_allclose(np.concatenate(alone, 1), together, rtol=1e-5, atol=1e-5)
    assert together.std(axis=1).min() > 1e-3, "candidates differ"


def test_order_padding_and_other_queries_change_nothing(problem):
    candidates, together = problem[3], logits(problem, problem[3])
    order = np.random.default_rng(1).permutation(C)
    shuffled = candidates.replace(
        **{n: getattr(candidates, n)[:, order] for n in ("items", "exists", "features")}
    )
    np.testing.assert_allclose(logits(problem, shuffled), together[:, order], rtol=1e-5, atol=1e-5)
    longer = candidates.replace(
        items=np.pad(candidates.items, ((0, 0), (0, 4))),
        exists=np.pad(candidates.exists, ((0, 0), (0, 4))),
        features=np.pad(candidates.features, ((0, 0), (0, 4), (0, 0)), constant_values=99),
    )
    np.testing.assert_allclose(logits(problem, longer)[:, :C], together, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        logits(problem, jax.tree.map(lambda x: x[2:4], candidates)),
        together[2:4],
        rtol=1e-5,
        atol=1e-5,
    )


def test_user_item_and_features_all_matter(problem):
    candidates, together = problem[3], logits(problem, problem[3])
    for changed in (
        candidates.replace(states=-candidates.states),
        candidates.replace(items=(candidates.items + 1) % V),
        candidates.replace(features=candidates.features + 1),
    ):
        assert np.abs(logits(problem, changed) - together).max() > 1e-3


def test_an_initial_ranker_scores_all_alike(problem):
    np.testing.assert_array_equal(
        logits(problem, problem[3], problem[1]), np.full((Q, C, A), module._INITIAL_LOGIT)
    )


def test_feature_statistics_are_not_learnt_and_outliers_are_clipped():
    params = {"center": jnp.array([1.0, 2.0]), "scale": jnp.array([2.0, 0.5])}
    x = jnp.array([[[3.0, 2.0], [1e9, -1e9]]])

    def standardised(params):
        return Standardise().apply({"params": params}, x)

    np.testing.assert_allclose(standardised(params), [[[1, 0], [5, -5]]])
    gradients = jax.grad(lambda p: jnp.sum(jnp.asarray(standardised(p)) ** 2))(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_gradients_reach_everything_that_is_learnt(problem):
    ranker, _, moved, candidates, catalogue = problem

    gradients = jax.jit(
        jax.grad(lambda params: jnp.sum(jnp.square(call(ranker)(params, candidates, catalogue))))
    )(moved)
    for name, part in gradients.items():
        for leaf in jax.tree.leaves(part):
            assert np.isfinite(leaf).all()
            assert bool(np.any(leaf)) == (name != "standardise"), name


def test_measures_are_dot_products():
    rng = np.random.default_rng(0)
    states, profiles, catalogue, texts = (
        rng.normal(size=s).astype(np.float32) for s in ((Q, D), (Q, 4), (V, D), (V, 4))
    )
    items = rng.integers(0, V, (Q, C))
    retrieval, text = measure(states, profiles, items, catalogue, texts)
    np.testing.assert_allclose(
        retrieval, np.take_along_axis(states @ catalogue.T, items, 1), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        text, np.take_along_axis(profiles @ texts.T, items, 1), rtol=1e-4, atol=1e-5
    )


def test_scores_are_log_odds_of_any_event_type():
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(scores(x), np.log(np.exp(x).sum(-1)), rtol=1e-5)
