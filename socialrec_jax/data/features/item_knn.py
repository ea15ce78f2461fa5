"""Item-kNN from co-occurrence in histories: the best simple recommender, and a ranker feature.

The item-based nearest neighbours of Sarwar et al. (2001), with decay by distance and by age.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.csr import offsets_of
from socialrec_jax.data.features.recent_items import recent_items
from socialrec_jax.data.features.sparse_rows import top_k_sparse
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events

_MAX_NEIGHBOURS = 200  # per item, so that the similarities of a large catalogue fit in memory

# Pairs are counted for a run of items at a time, which bounds the memory.
_ITEMS_AT_ONCE = 1 << 14
_EVENTS_AT_ONCE = 1 << 17  # 2.6 million pairs in a window of 10


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
        cls,
        events: Events,
        history_ends: np.ndarray,
        num_items: int,
        settings: ItemKNNSettings,
        only: np.ndarray | None = None,
    ) -> ItemKNN:
        """Count the events before rows history_ends [U].

        only: the items whose rows of similarity are counted, all by default; others stay empty.
        """
        visible = _VisibleEvents.of(events, history_ends, num_items)
        if only is not None:
            visible = visible.around(only)
        blocks = [
            _nearest_neighbours(visible.similarity(first, last, settings))
            for first, last in _blocks_of_items(visible.offsets)
        ]
        similarity = sparse.vstack(blocks, format="csr")
        return cls(sparse.csr_array(similarity), settings.history_decay)

    def scores(self, query: Query) -> sparse.csr_array:
        """Scores [q, V] float32 of queries [q]; no entry is a score of 0."""
        num_items = len(self.similarity.indptr) - 1
        recent = recent_items(query, num_items, self.history_decay)
        return sparse.csr_array(recent @ self.similarity)


@dataclasses.dataclass(frozen=True)
class _VisibleEvents:
    """The visible events of all users, oldest first, and where the events of each item are."""

    items: np.ndarray  # [n]
    owners: np.ndarray  # [n]
    by_item: np.ndarray  # [n] places of the events, those of item 0 first
    offsets: np.ndarray  # [V + 1] item v owns by_item[offsets[v] : offsets[v + 1]]
    counts: np.ndarray  # [V] events of each item

    @classmethod
    def of(cls, events: Events, history_ends: np.ndarray, num_items: int) -> _VisibleEvents:
        rows = np.flatnonzero(events.visible(history_ends))
        items = events.items[rows]
        by_item = np.argsort(items, kind="stable")
        offsets = offsets_of(items, num_items)
        return cls(items, events.owners[rows], by_item, offsets, np.diff(offsets))

    def around(self, items: np.ndarray) -> _VisibleEvents:
        """The same, of which only pairs with these items are counted."""
        is_counted = np.zeros(len(self.counts), bool)
        is_counted[items] = True
        by_item = self.by_item[is_counted[self.items[self.by_item]]]
        lengths = np.where(is_counted, self.counts, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return dataclasses.replace(self, by_item=by_item, offsets=offsets)

    def similarity(self, first: int, last: int, settings: ItemKNNSettings) -> sparse.csr_array:
        """Similarity [last - first, V] float32 of the items first..last - 1 to all items."""
        pairs = self._pairs(first, last, settings)
        counts = np.maximum(self.counts, 1)  # without events there are no pairs either
        damped = counts**-settings.damping

        lengths = np.diff(pairs.indptr)
        of_row = np.repeat(damped[first:last], lengths)
        similarity = of_row * pairs.data * damped[pairs.indices]
        entries = (similarity.astype(np.float32), pairs.indices, pairs.indptr)
        return sparse.csr_array(entries, pairs.shape)

    def _pairs(self, first: int, last: int, settings: ItemKNNSettings) -> sparse.csr_array:
        """Decayed counts [last - first, V] of pairs with the items first..last - 1."""
        offsets = self.offsets[first : last + 1]
        places = self.by_item[offsets[0] : offsets[-1]]
        around = self._items_around(places, settings)

        # Row i adds up what is around the events of item i.
        num_events = len(places)
        events_of_item = (np.ones(num_events), np.arange(num_events), offsets - offsets[0])
        sums = sparse.csr_array(events_of_item, (last - first, num_events))
        return sparse.csr_array(sums @ around)

    def _items_around(self, places: np.ndarray, settings: ItemKNNSettings) -> sparse.csr_array:
        """Weights [n, V] of the other items within the window around events at places [n]."""
        distances = np.arange(1, settings.window + 1)
        later = settings.distance_decay ** (distances - 1.0)
        weights = np.concatenate([later, settings.reverse * later])
        others = places[:, None] + np.concatenate([distances, -distances])

        exists = (others >= 0) & (others < len(self.items))
        others = np.where(exists, others, 0)
        # An item is not its own neighbour.
        exists &= self.owners[others] == self.owners[places][:, None]
        exists &= self.items[others] != self.items[places][:, None]

        offsets = np.concatenate([[0], np.cumsum(exists.sum(axis=1))])
        entries = (_for_each(weights, exists), self.items[others[exists]], offsets)
        return sparse.csr_array(entries, (len(places), len(self.offsets) - 1))


def _for_each(weights: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Weights [m] of columns at all places of exists [n, m], row by row."""
    return np.broadcast_to(weights, exists.shape)[exists]


def _blocks_of_items(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, exclusive last) of runs of items, so that the pairs of a run fit in memory."""
    num_items = len(offsets) - 1
    first = 0
    while first < num_items:
        events_end = np.searchsorted(offsets, offsets[first] + _EVENTS_AT_ONCE, side="right")
        last = int(np.clip(events_end - 1, first + 1, first + _ITEMS_AT_ONCE))
        yield first, min(last, num_items)
        first = last


def _nearest_neighbours(similarity: sparse.csr_array) -> sparse.csr_array:
    """The matrix with only the _MAX_NEIGHBOURS largest entries of each row."""
    columns, values = top_k_sparse(similarity, _MAX_NEIGHBOURS)
    exists = columns >= 0
    offsets = np.concatenate([[0], np.cumsum(exists.sum(axis=1))])
    return sparse.csr_array((values[exists], columns[exists], offsets), similarity.shape)
