"""AUC and log loss of the next event's type follow their definitions."""

import numpy as np

from socialrec_jax.evaluation import next_type


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 5, 60) / 5, rng.random(60) < 0.3
    pairs = scores[positive][:, None] - scores[~positive][None]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    np.testing.assert_allclose(next_type.roc_auc(scores, positive), expected)


def test_a_type_that_happened_always_or_never_is_left_out():
    probabilities, types = np.full((4, 3), 1 / 3), np.array([0, 1, 0, 1])
    evaluated = next_type.evaluate(probabilities, types, ["view", "buy", "cart"])
    assert list(evaluated) == ["view", "buy"]
    np.testing.assert_allclose(evaluated["buy"]["log_loss"], -(np.log(1 / 3) + np.log(2 / 3)) / 2)
    assert evaluated["buy"]["auc"] == evaluated["buy"]["share"] == 0.5
