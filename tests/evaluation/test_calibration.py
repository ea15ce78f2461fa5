"""Reliability curves follow their definition."""

from __future__ import annotations

import numpy as np

from socialrec_jax.evaluation.calibration import reliability, reliability_by_type


def test_groups_have_one_size_and_ascend():
    rng = np.random.default_rng(0)
    probabilities = rng.random(1000)
    labels = rng.random(1000) < probabilities
    curve = reliability(probabilities, labels)
    assert [count for _, _, count in curve] == [100] * 10
    predicted = [mean for mean, _, _ in curve]
    assert predicted == sorted(predicted)
    observed = [share for _, share, _ in curve]
    np.testing.assert_allclose(observed, predicted, atol=0.15)
    np.testing.assert_allclose(np.mean(observed), labels.mean())


def test_few_predictions_make_few_groups():
    assert reliability(np.array([0.2, 0.1]), np.array([1, 0])) == [(0.1, 0.0, 1), (0.2, 1.0, 1)]


def test_each_type_has_a_curve_over_all_chunks():
    chunks = [(np.full((5, 2), 0.5), np.eye(5)[:, :2]), (np.full((3, 2), 0.5), np.zeros((3, 2)))]
    curves = reliability_by_type(chunks, ["view", "buy"])
    assert list(curves) == ["view", "buy"]
    assert sum(count for _, _, count in curves["buy"]) == 8
