"""A share of lists in random order."""

from __future__ import annotations

import numpy as np
import pytest

from socialrec_jax.errors import UsageError
from socialrec_jax.inference.recommendations import Recommendations
from socialrec_jax.serving.exploration import Exploration, check_share

Q, K = 2_000, 5


def lists() -> Recommendations:
    """Lists of items 0..K - 1, the best first; every second one is an item short."""
    places = np.tile(np.arange(K), (Q, 1))
    scores = -places.astype(np.float32)
    scores[::2, -1] = -np.inf
    return Recommendations(np.arange(Q), places, scores, places[..., None], places)


def test_a_share_of_lists_is_in_random_order_and_the_others_are_not():
    exploration = Exploration(0.2, time=7)
    explored = exploration.is_explored(np.arange(Q))
    assert explored.mean() == pytest.approx(0.2, abs=0.03)
    shuffled = exploration.shuffled(lists())
    assert (shuffled.items[~explored] == np.arange(K)).all()
    # Items keep what belongs to them, and what does not exist stays at the end.
    assert (np.sort(shuffled.items, axis=1) == np.arange(K)).all()
    assert (shuffled.type_probabilities[..., 0] == shuffled.items).all()
    assert (shuffled.items[::2, -1] == K - 1).all()


def test_each_item_is_at_each_place_equally_often():
    items = Exploration(1, time=7).shuffled(lists()).items[1::2]
    for item in range(K):
        share = (items == item).mean(axis=0)
        np.testing.assert_allclose(share, 1 / K, atol=0.04)


def test_the_order_follows_from_user_and_time_alone():
    whole, other_time = (Exploration(1, time=t).shuffled(lists()) for t in (7, 8))
    again = Exploration(1, time=7).shuffled(lists())
    assert (whole.items == again.items).all()
    assert (whole.items != other_time.items).any()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_lies_between_0_and_1(share):
    with pytest.raises(UsageError, match="--explore"):
        check_share(share)
