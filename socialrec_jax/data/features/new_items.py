"""Counts for items that came after the ranker was trained and have no events yet.

Without counts the ranker puts an item last, for it has learnt that such items are rarely chosen. So
a new item gets the popularity, and the item-kNN similarities, of the known items whose texts are
nearest: a mean that is weighted by the similarity of the texts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.features.sparse_rows import top_k_sparse

_NEIGHBOURS = 20  # 5 make no difference: docs/results/loop.md


def with_text_neighbours(features: RankerFeatures, known_items: int) -> RankerFeatures:
    """The features, where items from number known_items on that have no events get those of their
    text neighbours. An item without a similar text stays as it is.
    """
    has_events = features.item_popularity[:, 0] > 0
    is_new = np.arange(features.num_items) >= known_items
    new_items = np.flatnonzero(is_new & ~has_events)
    if not len(new_items) or not has_events.any():
        return features

    weights = _neighbour_weights(features, new_items, np.flatnonzero(has_events))
    filled = np.flatnonzero(np.diff(weights.indptr))
    popularity = np.array(features.item_popularity)
    popularity[filled] = (weights @ popularity)[filled]
    return dataclasses.replace(
        features,
        item_popularity=popularity,
        item_knn=dataclasses.replace(
            features.item_knn, similarity=_extended(features.item_knn.similarity, weights)
        ),
    )


def _neighbour_weights(
    features: RankerFeatures, new_items: np.ndarray, known: np.ndarray
) -> sparse.csr_array:
    """Weights [V, V] float32 of the neighbours of each new item, which sum to 1 or are none."""
    terms = sparse.csr_array(sparse.hstack([features.labels, features.words], format="csr"))
    similarity = sparse.csr_array(terms[new_items] @ terms[known].T)
    columns, values = top_k_sparse(similarity, _NEIGHBOURS)
    exists = (columns >= 0) & (values > 0)

    values = np.where(exists, values, 0)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12)
    rows = np.broadcast_to(new_items[:, None], columns.shape)
    entries = (shares[exists].astype(np.float32), (rows[exists], known[columns[exists]]))
    return sparse.csr_array(entries, (features.num_items, features.num_items))


def _extended(similarity: sparse.csr_array, weights: sparse.csr_array) -> sparse.csr_array:
    """Similarities [V, V] with those of the new items: as rows, and as columns of known items."""
    extended = similarity + weights @ similarity + similarity @ weights.T
    extended = sparse.csr_array(extended, dtype=similarity.dtype)
    extended.sort_indices()
    return extended
