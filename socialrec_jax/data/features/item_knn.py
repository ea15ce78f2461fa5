"""Item-kNN from co-occurrence in histories: the best simple recommender, and a ranker feature.

The item-based nearest neighbours of Sarwar et al. (2001), with decay by distance and by age.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.features.recent_items import recent_items
from socialrec_jax.data.world import Events

_MAX_NEIGHBOURS = 200  # per item, so that the similarities of a large catalogue fit in memory


@dataclasses.dataclass(frozen=True)
class ItemKNNSettings:
    window: int = 10  # events between two items that still count as a pair
    distance_decay: float = 0.9  # weight of a pair per event between its items
    reverse: float = 1.0  # weight of a pair in the opposite order
    damping: float = 0.5  # exponent of the counts that divide; 0.5 is the cosine
    history_decay: float = 0.8  # weight of a recent item per event that came after it


@dataclasses.dataclass(frozen=True)
class ItemKNN:
    """Scores items by their similarity to the recent items of a user.

    similarity[i, j] = pairs[i, j] / (count[i] count[j])^damping, where pairs sums
    distance_decay^(distance - 1) over pairs of events at most `window` apart; a pair in the
    opposite order counts `reverse` as much. A user's score of j is the sum over recent events i of
    history_decay^age * similarity[i, j]. With damping 0.5 and reverse 1 this is the plain cosine.
    """

    similarity: sparse.csr_array  # [V, V] float32
    history_decay: float

    @classmethod
    def fit(
        cls, events: Events, history_ends: np.ndarray, num_items: int, settings: ItemKNNSettings
    ) -> ItemKNN:
        """Count the events before rows history_ends [U]."""
        visible = events.visible(history_ends)
        pairs = _co_occurrence(events, visible, num_items, settings)

        counts = np.bincount(events.items[visible], minlength=num_items)
        counts = np.maximum(counts, 1)  # of an item without events there are no pairs either
        damped = (counts**-settings.damping).astype(np.float32)
        scale = sparse.diags_array(damped)
        similarity = sparse.csr_array(scale @ pairs @ scale)
        return cls(_nearest_neighbours(similarity), settings.history_decay)

    def scores(self, events: Events, users: np.ndarray, history_ends: np.ndarray) -> np.ndarray:
        """Scores [q, V] float32 of users [q] with the events before rows history_ends [q]."""
        return self.rows(events, users, history_ends).toarray()

    def rows(self, events: Events, users: np.ndarray, history_ends: np.ndarray) -> sparse.csr_array:
        """The same scores as a sparse matrix."""
        num_items = len(self.similarity.indptr) - 1
        recent = recent_items(events, users, history_ends, num_items, self.history_decay)
        return sparse.csr_array(recent @ self.similarity)


def _co_occurrence(
    events: Events, visible: np.ndarray, num_items: int, settings: ItemKNNSettings
) -> sparse.csr_array:
    """Decayed counts [V, V] of pairs, the earlier item as row; the opposite order is added with
    its weight.
    """
    total = sparse.csr_array((num_items, num_items), dtype=np.float32)
    for distance, (first, second) in _pairs(events, visible, settings.window):
        weight = settings.distance_decay ** (distance - 1)
        weights = np.full(len(first), weight, np.float32)
        total = total + sparse.csr_array((weights, (first, second)), total.shape)
    total = sparse.csr_array(total + settings.reverse * total.T)

    # An item is not its own neighbour.
    total.setdiag(0)
    total.eliminate_zeros()
    return total


def _pairs(
    events: Events, visible: np.ndarray, window: int
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """For each distance 1..window: (earlier items, later items) of visible events of one user."""
    rows = np.flatnonzero(visible)
    owners = events.owners[rows]
    items = events.items[rows]
    longest = min(window, len(rows) - 1)
    for distance in range(1, longest + 1):
        earlier = items[:-distance]
        later = items[distance:]
        same_user = owners[distance:] == owners[:-distance]
        yield distance, (earlier[same_user], later[same_user])


def _nearest_neighbours(similarity: sparse.csr_array) -> sparse.csr_array:
    """The matrix with only the _MAX_NEIGHBOURS largest entries of each row."""
    entries = similarity.tocoo()
    rows, columns = entries.coords
    by_row_then_value = np.lexsort((np.negative(entries.data), rows))

    sorted_rows = rows[by_row_then_value]
    first_of_row = np.searchsorted(sorted_rows, np.arange(len(similarity.indptr)))
    position_in_row = np.arange(len(rows)) - first_of_row[sorted_rows]
    selected = by_row_then_value[position_in_row < _MAX_NEIGHBOURS]

    coordinates = (rows[selected], columns[selected])
    return sparse.csr_array((entries.data[selected], coordinates), similarity.shape)
