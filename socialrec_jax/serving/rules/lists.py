"""Lists of users, put together item by item from the best candidates.

The next item has the largest value of those that the rules still allow: not too many of one
category, not all alike, and some of the places for promoted or new items.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from socialrec_jax.errors import UsageError
from socialrec_jax.inference.recommendations import Recommendations
from socialrec_jax.serving.rules.quotas import Quota

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

    def choose(
        self,
        candidates: Recommendations,
        values: np.ndarray,
        k: int,
        columns: ItemColumns,
        quotas: Sequence[Quota] = (),
    ) -> Recommendations:
        """The k chosen items of each user, in the order in which they were chosen.

        values [q, C]: what candidates are chosen by, -inf for those that cannot be. The next item
        has the largest (1 - diversity) * relevance - diversity * similarity: Maximal Marginal
        Relevance of Carbonell and Goldstein (1998). Relevance is the value, from 0 for the user's
        worst candidate to 1 for the best. Similarity is the largest cosine with an item that was
        chosen before. When no more places are left than quotas still need, only their members
        come: last, where they cost least.
        """
        lists = _Lists(self, candidates.items, values, columns, quotas)
        places = [lists.next_places(k - filled) for filled in range(k)]
        return candidates.at_places(np.stack(places, axis=1))


@dataclasses.dataclass(frozen=True, eq=False)
class ItemColumns:
    """What the rules read of V items."""

    categories: np.ndarray  # [V] number of each item's category, -1 for none, which has no limit
    vectors: np.ndarray  # [V, D] of length 1


def num_candidates(k: int, num_items: int) -> int:
    """How many candidates a list of k items is chosen from."""
    return min(max(_LEAST_CANDIDATES, 5 * k), num_items)


class _Lists:
    """Lists of q users that are filled from candidates [q, C], place by place."""

    def __init__(
        self,
        rules: ListRules,
        items: np.ndarray,
        values: np.ndarray,
        columns: ItemColumns,
        quotas: Sequence[Quota],
    ):
        self._rules, self._items, self._columns = rules, items, columns
        self._relevance = _relevance(values)
        self._categories = columns.categories[items]
        self._similarity = np.zeros(values.shape, np.float32)
        self._used = np.zeros(values.shape, np.int32)  # chosen items of the candidate's category
        # What does not exist, and what the user had just now, has no finite value.
        self._free = np.isfinite(values)
        self._quotas = [_OpenQuota.of(quota, items, len(values)) for quota in quotas]
        self._is_first = True

    def next_places(self, places_left: int) -> np.ndarray:
        """The places [q] of the next candidates, -1 where none is left; places_left: with it."""
        diversity = self._rules.diversity
        value = (1 - diversity) * self._relevance - diversity * self._similarity
        may_come = self._may_come(places_left)
        best = np.where(may_come, value, -np.inf).argmax(axis=1)
        rows = np.arange(len(best))
        is_chosen = may_come[rows, best]
        self._take(rows, best, is_chosen)
        return np.where(is_chosen, best, -1)

    def _may_come(self, places_left: int) -> np.ndarray:
        """Which candidates [q, C] the rules allow next."""
        limit = self._rules.per_category
        allowed = self._free if limit is None else self._free & (self._used < limit)
        is_wanted = np.zeros(allowed.shape, bool)
        needed = np.zeros(len(allowed), np.int64)
        for quota in self._quotas:
            candidates = allowed & quota.is_member & (quota.places > 0)[:, None]
            # A quota asks for no more than there is.
            needed += np.clip(quota.places, 0, candidates.sum(axis=1))
            is_wanted |= candidates
        # Until then the best items of all come: a member that waits costs nothing.
        only_wanted = (needed > 0) & (needed >= places_left)
        return np.where(only_wanted[:, None], is_wanted, allowed)

    def _take(self, rows: np.ndarray, best: np.ndarray, is_chosen: np.ndarray) -> None:
        """Count the chosen candidates [q]."""
        # A user with nothing left chooses nothing more, so that counting on is harmless.
        self._free[rows, best] = False
        self._used += _same_category(self._categories, self._categories[rows, best])
        for quota in self._quotas:
            quota.places -= is_chosen & quota.is_member[rows, best]
        if self._rules.diversity:
            cosines = _cosines(self._columns.vectors, self._items, self._items[rows, best])
            earlier = cosines if self._is_first else self._similarity
            self._similarity, self._is_first = np.maximum(earlier, cosines), False


@dataclasses.dataclass(eq=False)
class _OpenQuota:
    """A quota while lists are filled."""

    is_member: np.ndarray  # [q, C]
    places: np.ndarray  # [q] that it still has; below 0 where more members came

    @classmethod
    def of(cls, quota: Quota, items: np.ndarray, num_users: int) -> _OpenQuota:
        return cls(quota.is_member[items], np.full(num_users, quota.places))


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
