"""No ranker is labelled on users that it learnt from; batches follow from (seed, step); a planted
pattern is learnt.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.batch import Candidates, LabelledCandidates
from socialrec_jax.config import Config, TrainConfig
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.query import Query
from socialrec_jax.evaluation import candidate_lists, out_of_fold
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.runtime import parallel
from socialrec_jax.training import losses, ranker
from tests.worlds import events_of

Q, C, V, D, S, A, K = 600, 12, 50, 8, 5, 2, 4
SEED = 3
CONFIG = Config(seed=SEED, train=TrainConfig(steps_per_call=K, ema_decay=0.9))
RANKER = Ranker(A, interactions=1)


def planted(seed: int = 0) -> LabelledCandidates:
    """Queries with one labelled candidate: that with the largest feature 3; every tenth user is
    unknown.
    """
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(Q, D)).astype(np.float32)
    states[::10] = 0
    items = np.stack([rng.permutation(V)[:C] for _ in range(Q)]).astype(np.int32)
    exists = np.ones((Q, C), bool)
    exists[:, -3:] = rng.random((Q, 3)) < 0.5
    features = (10 * rng.normal(size=(Q, C, S)) + np.arange(S)).astype(np.float32)
    labels = np.zeros((Q, C, A), np.float32)
    best = np.where(exists, features[:, :, 3], -np.inf).argmax(1)
    labels[np.arange(Q), best, rng.integers(0, A, Q)] = 1
    return LabelledCandidates(
        Candidates(states, items, exists, features),
        labels,
        *2 * [ranker.member_weights(np.arange(Q), SEED)],
    )


CATALOGUE = np.random.default_rng(9).normal(size=(V, D)).astype(np.float32)
FOLDS = ranker.fold_of(np.arange(Q), SEED)


@pytest.fixture(scope="module")
def trainer():
    """(trainer of 240 steps, its compiled call, its initial state from the planted candidates)."""
    made = ranker.RankerTrainer(CONFIG, RANKER, 240, CATALOGUE)
    start = made.init(ranker.RankerBatches(planted(), SEED).at(0))
    return made, made.compile(), jax.tree.map(np.asarray, start)


def trained(trainer, labelled: LabelledCandidates, steps: int):
    _, call, start = trainer
    batches = ranker.RankerBatches(labelled, SEED)
    state, found = parallel.replicate(start), []
    for first in range(0, steps, K):
        parts = [parallel.split_over_devices(batches.at(first + k)) for k in range(K)]
        state, of_call = call(state, jax.tree.map(lambda *leaves: np.stack(leaves, 1), *parts))
        found.extend(np.asarray(of_call))
    return jax.tree.map(np.asarray, state), np.array(found)


def moved_members(a: dict, b: dict) -> set[int]:
    """Which rankers differ in any parameter."""
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    return {m for m in range(ranker.MEMBERS) if any((x[m] != y[m]).any() for x, y in pairs)}


def test_each_user_has_one_of_two_folds_by_user_and_seed():
    users = np.arange(10_000)
    folds = ranker.fold_of(users, 1)
    assert set(folds) == {1, 2}
    assert abs(folds.mean() - 1.5) < 0.03
    some = np.array([7, 7, 3, 900, 3])
    np.testing.assert_array_equal(ranker.fold_of(some, 1), folds[some])
    assert (ranker.fold_of(users, 2) != folds).mean() > 0.4
    assert len(ranker.fold_of(np.zeros(0, int), 1)) == 0


def test_weights_keep_each_user_from_the_ranker_that_evaluates_them():
    weights = ranker.member_weights(np.arange(Q), SEED)
    assert (weights[np.arange(Q), FOLDS] == 0).all()
    assert (weights[:, 0] == 1).all()
    assert (weights.sum(1) == 2).all()


def test_a_member_never_learns_from_the_users_it_evaluates(trainer):
    """Other labels of its users move the two rankers that learn from them, and no bit of the
    third.
    """
    labelled = planted()
    before = trained(trainer, labelled, 3 * K)[0].params
    for member in (1, 2):
        labels = labelled.labels.copy()
        labels[member == FOLDS] = np.roll(labels[member == FOLDS], 1, axis=1)
        after = trained(trainer, labelled.replace(labels=labels), 3 * K)[0].params
        assert moved_members(before, after) == {0, 1, 2} - {member}


def test_a_step_without_weight_is_harmless(trainer):
    labelled = planted()
    nothing = np.zeros_like(labelled.weights)
    without_weight = labelled.replace(weights=nothing, calibration_weights=nothing)
    state, found = trained(trainer, without_weight, K)
    assert np.isfinite(found).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_batch_follows_from_seed_and_step_and_an_epoch_covers_all():
    labelled = planted().replace(labels=np.arange(Q * C * A, dtype=np.float32).reshape(Q, C, A))
    batches = ranker.RankerBatches(labelled, SEED)

    def queries(step: int, *process: int) -> list[int]:
        return (batches.at(step, *process).labels[:, 0, 0] / (C * A)).astype(int).tolist()

    again = ranker.RankerBatches(labelled, SEED)
    jax.tree.map(np.testing.assert_array_equal, batches.at(5), again.at(5))
    for epoch in range(2):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        assert {q for step in steps for q in queries(step)} == set(range(Q))
    assert queries(0) != queries(batches.steps_per_epoch), "another order in every epoch"
    other = ranker.RankerBatches(labelled, SEED + 1).at(0)
    assert (other.labels != batches.at(0).labels).any()
    assert queries(1) == queries(1, 0, 2) + queries(1, 1, 2), "processes share a step"
    few = ranker.RankerBatches(jax.tree.map(lambda x: x[:3], labelled), SEED)
    assert (few.steps_per_epoch, few.queries_per_step) == (1, 3)


def test_a_planted_pattern_is_learnt_and_holds_for_other_users(trainer):
    labelled = planted()
    state, found = trained(trainer, labelled, 240)
    start = trainer[2]
    score = out_of_fold.OutOfFoldScorer(RANKER, labelled.candidates, FOLDS, CATALOGUE)
    ndcg = {
        name: evaluate(labelled, score(params))
        for name, params in (("fresh", start.params), ("trained", state.average))
    }
    assert ndcg["trained"] > 0.9
    assert ndcg["fresh"] < 0.6, "random order of a dozen, ties count against the model"
    assert found[-8:].mean() < 0.5 * found[:8].mean()
    for name in ("center", "scale"):
        for params in (state.params, state.average):
            np.testing.assert_array_equal(
                params["standardise"][name], start.params["standardise"][name]
            )


def evaluate(labelled: LabelledCandidates, values: np.ndarray) -> float:
    """NDCG@10 of the labelled candidates."""
    candidates = labelled.candidates
    targets = np.take_along_axis(
        candidates.items, labelled.labels.max(-1).argmax(1)[:, None], 1
    ).reshape(-1)
    none, each = np.zeros(Q, int), Pairs(np.arange(Q + 1), targets)
    seen = Pairs(np.zeros(Q + 1, int), np.zeros(0, np.int32))
    query = Query(events_of([[]] * Q), np.arange(Q), history_ends=none, query_times=none)
    queries = EvaluationQueries(query, seen, each, np.arange(Q), 0, np.ones(V, int))
    result = candidate_lists.evaluate_unsorted(candidates.items, values, queries, V)
    return result.metrics["ndcg@10"]


def test_feature_statistics_are_those_of_real_candidates(trainer):
    labelled = planted()
    spoiled_features = np.where(
        labelled.candidates.exists[..., None], labelled.candidates.features, 1e6
    )
    spoiled = labelled.replace(
        candidates=labelled.candidates.replace(features=spoiled_features.astype(np.float32))
    )
    statistics = trainer[0].init(spoiled).params["standardise"]
    features = labelled.candidates.features[labelled.candidates.exists]
    for member in range(ranker.MEMBERS):
        np.testing.assert_allclose(
            statistics["center"][member], features.mean(0), rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(statistics["scale"][member], features.std(0), rtol=1e-3)


def test_members_start_apart(trainer):
    kernel = trainer[2].params["user"]["kernel"]
    assert all((kernel[a] != kernel[b]).any() for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("queries", [1, 999, 5000, 10**6])
def test_sizes_grow_with_the_queries_between_bounds(queries):
    assert 1 <= ranker.interactions_for(queries) <= ranker.interactions_for(2 * queries) <= 16
    assert 240 <= ranker.steps_for(queries) <= ranker.steps_for(2 * queries) <= 2000


def problem_of_losses():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(30, 6, A)).astype(np.float32)
    labels = (rng.random((30, 6, A)) < 0.15).astype(np.float32)
    exists = rng.random((30, 6)) < 0.7
    exists[0], labels[1] = False, 0
    labels *= exists[..., None]
    return logits, labels, exists, (rng.random(30) < 0.8).astype(np.float32) * 2


def test_listwise_equals_its_definition():
    logits, labels, exists, weights = problem_of_losses()
    scores, labels = logits[..., 0], labels.max(-1)
    total, weight = 0.0, 0.0
    for s, label, e, w in zip(scores.astype(float), labels, exists, weights, strict=True):
        if label.any():
            total += w * (np.log(np.exp(s[e]).sum()) - s[label > 0].mean())
            weight += w
    found = losses.listwise(scores, labels, exists, weights)
    assert float(found.total) == pytest.approx(total, rel=1e-5)
    assert float(found.weight) == weight


def test_calibration_equals_its_definition():
    logits, labels, exists, weights = problem_of_losses()
    probabilities = 1 / (1 + np.exp(-logits.astype(float)))
    each = -np.log(np.where(labels > 0, probabilities, 1 - probabilities)).sum(-1)
    found = losses.calibration(logits, labels, exists, weights)
    assert float(found.total) == pytest.approx(
        float((each * exists * weights[:, None]).sum()), rel=1e-5
    )
    assert float(found.weight) == weights.sum()
    constant = jnp.full_like(logits, jnp.log(labels[exists].mean() / (1 - labels[exists].mean())))
    slope = jax.grad(
        lambda c: losses.calibration(constant + c, labels, exists, jnp.ones(30)).total
    )(0.0)
    assert abs(float(slope)) < 1e-3, "the best constant is the true share"


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_gradients_are_finite_and_zero_where_masked(scale):
    logits, labels, exists, weights = problem_of_losses()

    def loss(x):
        order = losses.listwise(x[..., 0], labels.max(-1), exists, weights)
        return order.total + losses.calibration(x, labels, exists, weights).total

    gradient = np.asarray(jax.grad(loss)(jnp.asarray(logits * scale)))
    assert np.isfinite(gradient).all()
    assert not gradient[~exists].any()
    assert not gradient[weights == 0].any()
