"""Items without events among those that have some: what the ranker reads of them."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.data.columns import Strings
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.new_items import with_text_neighbours
from socialrec_jax.data.features.ranker_features import RankerFeatures
from tests.worlds import events_of, world_of

CUP, PEN, NEW_CUP, UNLIKE, OLD_CUP = range(5)


def fitted(tmp_path) -> RankerFeatures:
    world = world_of(tmp_path, events_of([[CUP, PEN], [CUP, PEN], [CUP]]), num_items=5)
    titles = Strings.of(["red cup", "blue pen", "green cup", "sofa", "old cup"])
    world = dataclasses.replace(world, items=dataclasses.replace(world.items, titles=titles))
    return RankerFeatures.fit(world, world.history_ends(), ItemKNNSettings())


def test_a_new_item_gets_the_counts_of_similar_texts(tmp_path):
    counted = fitted(tmp_path)
    filled = with_text_neighbours(counted, known_items=NEW_CUP)
    np.testing.assert_allclose(filled.item_popularity[NEW_CUP], counted.item_popularity[CUP])
    similarity = filled.item_knn.similarity.toarray()
    before = counted.item_knn.similarity.toarray()
    np.testing.assert_allclose(similarity[NEW_CUP, PEN], before[CUP, PEN])
    np.testing.assert_allclose(similarity[PEN, NEW_CUP], before[PEN, CUP])
    # Nobody else changes: not who has counts, nor who has no similar text.
    np.testing.assert_array_equal(similarity[:2, :2], before[:2, :2])
    others = [CUP, PEN, UNLIKE]
    np.testing.assert_array_equal(filled.item_popularity[others], counted.item_popularity[others])


def test_known_items_without_events_stay_as_they_were_learnt(tmp_path):
    counted = fitted(tmp_path)
    assert with_text_neighbours(counted, known_items=counted.num_items) is counted
    filled = with_text_neighbours(counted, known_items=OLD_CUP)
    np.testing.assert_array_equal(filled.item_popularity[NEW_CUP], counted.item_popularity[NEW_CUP])
