"""What counts alone say about a user's next event: a multinomial logistic regression.

It reads how often each event type occurred in the history, which came last, and how long the
history is. Beside the model it is a second opinion with other mistakes; in evaluation it is the
rival to beat.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from socialrec_jax.data.world import Events

_MOST_EXAMPLES = 100_000
_RIDGE = 1e-4


@dataclasses.dataclass(frozen=True)
class NextTypeRegression:
    """Softmax of standardised counts times weights."""

    center: np.ndarray  # [3 A + 1]
    scale: np.ndarray  # [3 A + 1]
    weights: np.ndarray  # [3 A + 2, A], the last row a bias

    @classmethod
    def fit(
        cls, events: Events, history_ends: np.ndarray, num_event_types: int, seed: int = 0
    ) -> NextTypeRegression:
        """Learn from every event before ends [U] but the first of each user, or from a sample of
        them.
        """
        rows = np.flatnonzero(np.arange(len(events.items)) < history_ends[events.owners])
        rows = rows[rows > events.starts[events.owners[rows]]]
        if len(rows) > _MOST_EXAMPLES:
            rows = np.random.default_rng(seed).choice(rows, _MOST_EXAMPLES, replace=False)
        x, types = _features(events, events.owners[rows], rows, num_event_types), events.types[rows]
        if not len(x):
            return cls(
                np.zeros(x.shape[1]),
                np.ones(x.shape[1]),
                np.zeros((x.shape[1] + 1, num_event_types)),
            )
        center, scale = x.mean(0), x.std(0) + 1e-6
        return cls(center, scale, _fitted(_standard(x, center, scale), types, num_event_types))

    def probabilities(
        self, events: Events, users: np.ndarray, history_ends: np.ndarray
    ) -> np.ndarray:
        """[Q, A] that the next event of each user [Q], whose history ends before row ends [Q], is
        of each type.
        """
        x = _features(events, users, history_ends, self.weights.shape[1])
        return softmax(_standard(x, self.center, self.scale) @ self.weights)

    def save(self, file: Path) -> None:
        np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, file: Path) -> NextTypeRegression:
        with np.load(file) as columns:
            return cls(**columns)


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) in shares of each row."""
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _features(
    events: Events, users: np.ndarray, history_ends: np.ndarray, num_event_types: int
) -> np.ndarray:
    """[Q, 3 A + 1] counts of each type before ends, their shares, which came last, and how many
    there were.
    """
    each = np.eye(num_event_types, dtype=np.int32)
    running = np.zeros((len(events.types) + 1, num_event_types), np.int32)
    np.cumsum(each[events.types], axis=0, out=running[1:])
    counts = running[history_ends] - running[events.offsets[users]]
    total = counts.sum(1, keepdims=True)
    last = np.where(total > 0, each[events.types[np.maximum(history_ends - 1, 0)]], 0)
    return np.concatenate(
        [np.log1p(counts), counts / np.maximum(total, 1), last, np.log(np.maximum(total, 1))], 1
    )


def _standard(x: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.concatenate([(x - center) / scale, np.ones((len(x), 1))], axis=1)


def _fitted(x: np.ndarray, types: np.ndarray, num_event_types: int) -> np.ndarray:
    """The weights [F, A] of least cross-entropy."""
    shape, truth = (x.shape[1], num_event_types), np.eye(num_event_types)[types]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        probabilities = softmax(x @ weights)
        gradient = x.T @ (probabilities - truth) / len(x) + _RIDGE * weights
        value = -np.mean(
            np.log(probabilities[np.arange(len(x)), types] + 1e-12)
        ) + _RIDGE / 2 * np.sum(weights**2)
        return float(value), gradient.reshape(-1)

    from scipy.optimize import minimize  # takes a second to import

    fitted = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B")
    return fitted.x.reshape(shape)
