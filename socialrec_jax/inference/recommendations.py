"""The best items of users, and how such lists are joined and cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

# All but the users, which have one entry a row.
_COLUMNS = ("items", "scores", "type_probabilities", "sources")


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """The best items of q users, best first."""

    users: np.ndarray  # [q] int64
    items: np.ndarray  # [q, k] int32
    scores: np.ndarray  # [q, k] float32 logits; -inf where fewer than k items could be recommended
    type_probabilities: np.ndarray  # [q, k, A] that the next event is of this type and on this item
    sources: np.ndarray  # [q, k] index into candidates.SOURCES: the first list with the item

    @property
    def exists(self) -> np.ndarray:
        return np.isfinite(self.scores)

    @classmethod
    def joined(cls, parts: Sequence[Recommendations]) -> Recommendations:
        """All users of several parts, of which there is at least one."""
        names = ("users", *_COLUMNS)
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def of_rows(self, rows: np.ndarray) -> Recommendations:
        """Some users, in the order of rows [n]."""
        return Recommendations(*(getattr(self, name)[rows] for name in ("users", *_COLUMNS)))

    def at_places(self, places: np.ndarray) -> Recommendations:
        """The items at places [q, k] of each row; nothing where a place is -1."""
        at = np.maximum(places, 0)
        scores = np.take_along_axis(self.scores, at, axis=1)
        return dataclasses.replace(
            self,
            items=np.take_along_axis(self.items, at, axis=1),
            scores=np.where(places >= 0, scores, -np.inf),
            type_probabilities=np.take_along_axis(self.type_probabilities, at[..., None], 1),
            sources=np.take_along_axis(self.sources, at, axis=1),
        )

    def spread(self, rows: np.ndarray, count: int) -> Recommendations:
        """The same as rows [n] of `count` users; the other users have nothing."""
        own_row = np.zeros(count, np.int64)
        own_row[rows] = np.arange(len(rows))
        is_given = np.zeros(count, bool)
        is_given[rows] = True
        repeated = self.of_rows(own_row)
        scores = np.where(is_given[:, None], repeated.scores, -np.inf)
        return dataclasses.replace(repeated, scores=scores)

    def beside(self, others: Recommendations) -> Recommendations:
        """These items, and after them the other items of the same users. An item comes once."""
        # An item of both keeps its first place: the second one has no score.
        width = int(max(self.items.max(initial=0), others.items.max(initial=0))) + 1
        first_keys = np.arange(len(self.users))[:, None] * width
        own = (first_keys + self.items)[self.exists]
        is_repeated = np.isin(first_keys + others.items, own)
        added = dataclasses.replace(others, scores=np.where(is_repeated, -np.inf, others.scores))
        columns = {
            name: np.concatenate([getattr(self, name), getattr(added, name)], axis=1)
            for name in _COLUMNS
        }
        return dataclasses.replace(self, **columns)
