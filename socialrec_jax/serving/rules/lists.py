"""Rules about a whole list: not too many of one category, and not all alike.

A list is put together item by item from the best candidates, with the largest value of those that
the rules still allow.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.errors import UsageError
from socialrec_jax.inference.engine import Recommendations

# The best so many candidates, or 5 k, are chosen from.
_LEAST_CANDIDATES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListRules:
    """Rules about the list of each user; the defaults change nothing."""

    per_category: int | None = None  # at most so many items of one category
    diversity: float = 0.0  # 0..1, see `choose`

    def __post_init__(self):
        if self.per_category is not None and self.per_category < 1:
            raise UsageError(f"--per-category {self.per_category}: choose at least 1")
        if not 0 <= self.diversity <= 1:
            raise UsageError(f"--diversity {self.diversity}: choose from 0 (off) to 1")

    @property
    def are_off(self) -> bool:
        return self.per_category is None and not self.diversity

    def num_candidates(self, k: int, num_items: int) -> int:
        """How many candidates a list of k items is chosen from."""
        return k if self.are_off else min(max(_LEAST_CANDIDATES, 5 * k), num_items)

    def choose(
        self, candidates: Recommendations, k: int, categories: np.ndarray, vectors: np.ndarray
    ) -> Recommendations:
        """The k chosen items of each user, in the order in which they were chosen.

        The next item has the largest (1 - diversity) * relevance - diversity * similarity: Maximal
        Marginal Relevance of Carbonell and Goldstein (1998). Relevance is the score, from 0 for the
        user's worst candidate to 1 for the best. Similarity is the largest cosine with an item that
        was chosen before.

        categories [V]: number of each item's category, -1 for none, which is not limited. vectors
        [V, D]: of length 1.
        """
        if self.are_off:
            return candidates
        places = self._places(candidates, k, categories[candidates.items], vectors)
        return _rows_at(candidates, places)

    def _places(
        self, candidates: Recommendations, k: int, categories: np.ndarray, vectors: np.ndarray
    ) -> np.ndarray:
        """The places [q, k] of the chosen candidates, -1 where none is left."""
        relevance = _relevance(candidates.scores)
        similarity = np.zeros(relevance.shape, np.float32)
        used = np.zeros(relevance.shape, np.int32)  # chosen items of the candidate's category
        free = candidates.exists.copy()
        rows = np.arange(len(relevance))
        places = []
        for _ in range(k):
            value = (1 - self.diversity) * relevance - self.diversity * similarity
            may_come = free if self.per_category is None else free & (used < self.per_category)
            best = np.where(may_come, value, -np.inf).argmax(axis=1)
            places.append(np.where(may_come[rows, best], best, -1))

            # A user with nothing left chooses nothing more, so that counting on is harmless.
            free[rows, best] = False
            used += _same_category(categories, categories[rows, best])
            if self.diversity:
                cosines = _cosines(vectors, candidates.items, candidates.items[rows, best])
                similarity = np.maximum(similarity, cosines) if len(places) > 1 else cosines
        return np.stack(places, axis=1)


def _same_category(categories: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Which candidates [q, C] have the category of the chosen one [q]; none without a category."""
    return (categories == chosen[:, None]) & (categories >= 0)


def _cosines(vectors: np.ndarray, items: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The cosine [q, C] of candidates [q, C] with the chosen item [q]."""
    return np.einsum("qd,qcd->qc", vectors[chosen], vectors[items])


def _relevance(scores: np.ndarray) -> np.ndarray:
    """Scores [q, C] between the worst (0) and the best (1) finite one of each row."""
    is_finite = np.isfinite(scores)
    worst = np.where(is_finite, scores, np.inf).min(axis=1, keepdims=True)
    best = np.where(is_finite, scores, -np.inf).max(axis=1, keepdims=True)
    width = np.where(best > worst, best - worst, 1)
    return np.where(is_finite, (scores - worst) / width, 0)


def _rows_at(candidates: Recommendations, places: np.ndarray) -> Recommendations:
    """The candidates at places [q, k] of each row; nothing where a place is -1."""
    at = np.maximum(places, 0)
    scores = np.take_along_axis(candidates.scores, at, axis=1)
    return dataclasses.replace(
        candidates,
        items=np.take_along_axis(candidates.items, at, axis=1),
        scores=np.where(places >= 0, scores, -np.inf),
        type_probabilities=np.take_along_axis(candidates.type_probabilities, at[..., None], 1),
        sources=np.take_along_axis(candidates.sources, at, axis=1),
    )
