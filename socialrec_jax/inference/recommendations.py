"""What an engine recommends."""

from __future__ import annotations

import dataclasses

import numpy as np


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
