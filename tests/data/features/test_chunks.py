"""A query gets the same features and proposals alone and among others, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import BEFORE_VALIDATION
from tests.data.features.test_ranker_features import ITEMS, SETTINGS, USERS, query_of, shop


@pytest.mark.parametrize("repeats", [False, True], ids=["new items", "repeats"])
def test_other_queries_of_a_chunk_change_no_bit(tmp_path, repeats):
    world = shop(tmp_path, repeats)
    query = query_of(world)
    fitted = RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), SETTINGS)
    candidates = np.random.default_rng(0).integers(0, ITEMS, (USERS, 6)).astype(np.int32)
    given = np.zeros(candidates.shape, np.float32)
    lengths = {"bought together": 6, "friends": 5, "trending": 7}

    def computed(rows: slice) -> list[np.ndarray]:
        looked_up = fitted.look_up(query.part(rows))
        features = fitted.compute(looked_up, candidates[rows], given[rows], given[rows])
        return [features, *fitted.proposals(looked_up, lengths).values()]

    together = computed(slice(None))
    for rows in (slice(7, 12), slice(30, 31)):
        for alone, whole in zip(computed(rows), together, strict=True):
            np.testing.assert_array_equal(alone, whole[rows])
