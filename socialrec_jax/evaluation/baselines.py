"""What a good engineer would try first: popular, recently popular, items bought together.

Everything is counted from the training part. The few settings are chosen on validation NDCG@10, as the model's are,
so that a model that wins has won against a baseline at its best.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.popularity import recent_popularity
from socialrec_jax.data.world import Events

_NEIGHBOURS = 200  # kept an item, so that similarities of a large catalogue fit in memory
_RECENT_EVENTS = 20  # of a history that are scored: later ones decay to nothing


@dataclasses.dataclass(frozen=True)
class ItemCosine:
    """Items that stand near the recent ones in other users' histories.

    similarity[i, j] = together[i, j] / (count[i] count[j])^damping, where together sums distance_decay^(distance - 1)
    over pairs at most `window` events apart; a pair in reverse order counts `reverse` as much. A user's score of j is
    the sum over recent events i of history_decay^age * similarity[i, j]. damping 0.5, reverse 1 is the plain cosine.
    """

    similarity: sparse.csr_array  # [V, V] float32
    history_decay: float

    @classmethod
    def fit(cls, events: Events, ends: np.ndarray, num_items: int, settings: CosineSettings) -> ItemCosine:
        """Count the rows before ends [U]."""
        visible = np.arange(len(events.items)) < ends[events.owners]
        together = _co_occurrence(events, visible, num_items, settings)
        counts = np.maximum(np.bincount(events.items[visible], minlength=num_items), 1)
        scale = sparse.diags_array((counts**-settings.damping).astype(np.float32))
        return cls(_strongest(sparse.csr_array(scale @ together @ scale)), settings.history_decay)

    def scores(self, events: Events, users: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Scores [q, V] float32 of users who did what lies before ends [q]."""
        ages = np.arange(_RECENT_EVENTS)[None]
        rows = ends[:, None] - 1 - ages
        valid = rows >= events.offsets[users][:, None]
        query, age = np.nonzero(valid)
        weights = (self.history_decay**age).astype(np.float32)
        shape = (len(users), len(self.similarity.indptr) - 1)
        recent = sparse.csr_array((weights, (query, events.items[rows[valid]])), shape)
        return sparse.csr_array(recent @ self.similarity).toarray()


@dataclasses.dataclass(frozen=True)
class CosineSettings:
    window: int = 10
    distance_decay: float = 0.9
    reverse: float = 1.0
    damping: float = 0.5
    history_decay: float = 0.8


_CHOICES = {
    "reverse": (1.0, 0.6, 0.3),
    "damping": (0.5, 0.4, 0.3),
    "history_decay": (0.8, 0.6, 0.9),
    "window": (10, 20, 3),
    "distance_decay": (0.9, 0.7, 0.8),
}


def tune_cosine(
    events: Events, ends: np.ndarray, num_items: int, validate: Callable[[ItemCosine], float]
) -> tuple[ItemCosine, CosineSettings]:
    """The settings that validate best, one after another from the plain cosine on."""
    best = CosineSettings()
    chosen = ItemCosine.fit(events, ends, num_items, best)
    value = validate(chosen)
    for name, choices in _CHOICES.items():
        for settings in [dataclasses.replace(best, **{name: choice}) for choice in choices[1:]]:
            candidate = ItemCosine.fit(events, ends, num_items, settings)
            if (candidate_value := validate(candidate)) > value:
                best, chosen, value = settings, candidate, candidate_value
    return chosen, best


def popular(events: Events, ends: np.ndarray, num_items: int) -> np.ndarray:
    """Visible events of each item [V] float32."""
    visible = np.arange(len(events.items)) < ends[events.owners]
    return np.bincount(events.items[visible], minlength=num_items).astype(np.float32)


def tune_recently_popular(
    events: Events, ends: np.ndarray, num_items: int, validate: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Decayed popularity [V] with the half-life, as a share of the time span, that validates best."""
    candidates = [recent_popularity(events, ends, num_items, share) for share in (0.05, 0.01, 0.2)]
    return max(candidates, key=validate)


def _co_occurrence(events: Events, visible: np.ndarray, num_items: int, settings: CosineSettings) -> sparse.csr_array:
    """Decayed counts [V, V] of pairs, row before column; the reverse order is added with its weight."""
    total = sparse.csr_array((num_items, num_items), dtype=np.float32)
    for distance, (first, second) in _pairs(events, visible, settings.window):
        weights = np.full(len(first), settings.distance_decay ** (distance - 1), np.float32)
        total = total + sparse.csr_array((weights, (first, second)), total.shape)
    total = sparse.csr_array(total + settings.reverse * total.T)
    total.setdiag(0)
    total.eliminate_zeros()
    return total


def _pairs(events: Events, visible: np.ndarray, window: int) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Items of visible events of one user that lie 1..window apart."""
    rows = np.flatnonzero(visible)
    owners, items = events.owners[rows], events.items[rows]
    for distance in itertools.takewhile(lambda d: d < len(rows), range(1, window + 1)):
        same = owners[distance:] == owners[:-distance]
        yield distance, (items[:-distance][same], items[distance:][same])


def _strongest(matrix: sparse.csr_array) -> sparse.csr_array:
    """The matrix with only the _NEIGHBOURS largest entries of each row."""
    entries = matrix.tocoo()
    order = np.lexsort((np.negative(entries.data), entries.coords[0]))
    rows = entries.coords[0][order]
    begins = np.searchsorted(rows, np.arange(len(matrix.indptr)))
    kept = order[np.arange(len(rows)) - begins[rows] < _NEIGHBOURS]
    return sparse.csr_array((entries.data[kept], tuple(axis[kept] for axis in entries.coords)), matrix.shape)
