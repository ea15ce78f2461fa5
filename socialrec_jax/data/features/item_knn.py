"""Items that stand near each other in histories: the strongest simple recommender, and a signal of
the ranker.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.features.recent_items import recent_items
from socialrec_jax.data.world import Events

_NEIGHBOURS = 200  # kept an item, so that similarities of a large catalogue fit in memory


@dataclasses.dataclass(frozen=True)
class ItemKNNSettings:
    window: int = 10
    distance_decay: float = 0.9
    reverse: float = 1.0
    damping: float = 0.5
    history_decay: float = 0.8


@dataclasses.dataclass(frozen=True)
class ItemKNN:
    """Items that stand near the recent ones in other users' histories.

    similarity[i, j] = together[i, j] / (count[i] count[j])^damping, where together sums
    distance_decay^(distance - 1) over pairs at most `window` events apart; a pair in reverse order
    counts `reverse` as much. A user's score of j is the sum over recent events i of
    history_decay^age * similarity[i, j]. damping 0.5, reverse 1 is the plain cosine.
    """

    similarity: sparse.csr_array  # [V, V] float32
    history_decay: float

    @classmethod
    def fit(
        cls, events: Events, history_ends: np.ndarray, num_items: int, settings: ItemKNNSettings
    ) -> ItemKNN:
        """Count the rows before ends [U]."""
        visible = np.arange(len(events.items)) < history_ends[events.owners]
        together = _co_occurrence(events, visible, num_items, settings)
        counts = np.maximum(np.bincount(events.items[visible], minlength=num_items), 1)
        scale = sparse.diags_array((counts**-settings.damping).astype(np.float32))
        return cls(_top_k_rows(sparse.csr_array(scale @ together @ scale)), settings.history_decay)

    def scores(self, events: Events, users: np.ndarray, history_ends: np.ndarray) -> np.ndarray:
        """Scores [q, V] float32 of users who did what lies before ends [q]."""
        return self.rows(events, users, history_ends).toarray()

    def rows(self, events: Events, users: np.ndarray, history_ends: np.ndarray) -> sparse.csr_array:
        """The same scores, sparse."""
        recent = recent_items(
            events, users, history_ends, len(self.similarity.indptr) - 1, self.history_decay
        )
        return sparse.csr_array(recent @ self.similarity)


def _co_occurrence(
    events: Events, visible: np.ndarray, num_items: int, settings: ItemKNNSettings
) -> sparse.csr_array:
    """Decayed counts [V, V] of pairs, row before column; the reverse order is added with its
    weight.
    """
    total = sparse.csr_array((num_items, num_items), dtype=np.float32)
    for distance, (first, second) in _pairs(events, visible, settings.window):
        weights = np.full(len(first), settings.distance_decay ** (distance - 1), np.float32)
        total = total + sparse.csr_array((weights, (first, second)), total.shape)
    total = sparse.csr_array(total + settings.reverse * total.T)
    total.setdiag(0)
    total.eliminate_zeros()
    return total


def _pairs(
    events: Events, visible: np.ndarray, window: int
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Items of visible events of one user that lie 1..window apart."""
    rows = np.flatnonzero(visible)
    owners, items = events.owners[rows], events.items[rows]
    for distance in itertools.takewhile(lambda d: d < len(rows), range(1, window + 1)):
        same = owners[distance:] == owners[:-distance]
        yield distance, (items[:-distance][same], items[distance:][same])


def _top_k_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """The matrix with only the _NEIGHBOURS largest entries of each row."""
    entries = matrix.tocoo()
    order = np.lexsort((np.negative(entries.data), entries.coords[0]))
    rows = entries.coords[0][order]
    begins = np.searchsorted(rows, np.arange(len(matrix.indptr)))
    kept = order[np.arange(len(rows)) - begins[rows] < _NEIGHBOURS]
    return sparse.csr_array(
        (entries.data[kept], tuple(axis[kept] for axis in entries.coords)), matrix.shape
    )
