"""Chances of the next event's type are judged as their definitions say."""

import numpy as np

from socialrec_jax.evaluation import next_type


def test_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 5, 60) / 5, rng.random(60) < 0.3
    pairs = scores[truth][:, None] - scores[~truth][None]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    np.testing.assert_allclose(next_type.area(scores, truth), expected)


def test_a_type_that_is_all_or_none_is_left_out():
    probabilities, types = np.full((4, 3), 1 / 3), np.array([0, 1, 0, 1])
    evaluated = next_type.evaluate(probabilities, types, ["view", "buy", "cart"])
    assert list(evaluated) == ["view", "buy"]
    np.testing.assert_allclose(evaluated["buy"]["log_loss"], -(np.log(1 / 3) + np.log(2 / 3)) / 2)
    assert evaluated["buy"]["auc"] == evaluated["buy"]["share"] == 0.5
