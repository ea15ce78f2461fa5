"""The type of a user's next event from counts alone: a multinomial logistic regression.

It reads how often each event type occurred in the history, which type came last, and how long the
history is. Serving averages it with the model, since both make different mistakes; evaluation shows
it as the baseline.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from scipy.special import softmax

from socialrec_jax.data.csr import ranges
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import Events

_MAX_EXAMPLES = 100_000
_L2 = 1e-4


@dataclasses.dataclass(frozen=True)
class NextTypeRegression:
    """Softmax of standardised counts times weights; A event types."""

    center: np.ndarray  # [3 A + 1]
    scale: np.ndarray  # [3 A + 1]
    weights: np.ndarray  # [3 A + 2, A], the last row is the bias

    @classmethod
    def fit(
        cls, events: Events, history_ends: np.ndarray, num_event_types: int, seed: int = 0
    ) -> NextTypeRegression:
        """Learn from the events before rows history_ends [U], except the first of each user."""
        rows = _examples(events, history_ends, seed)
        users = events.owners[rows]
        x = _count_features(events, users, rows, num_event_types)
        if not len(x):
            return cls._uniform(x.shape[1], num_event_types)

        center = x.mean(0)
        scale = x.std(0) + 1e-6  # a constant feature has no deviation
        standardised = _standardise(x, center, scale)
        weights = _fit_weights(standardised, events.types[rows], num_event_types)
        return cls(center, scale, weights)

    @classmethod
    def _uniform(cls, num_features: int, num_event_types: int) -> NextTypeRegression:
        """All types are equally likely: there is nothing to learn from."""
        center = np.zeros(num_features)
        scale = np.ones(num_features)
        weights = np.zeros((num_features + 1, num_event_types))
        return cls(center, scale, weights)

    def probabilities(self, query: Query) -> np.ndarray:
        """[Q, A] that the next event of queries [Q] has each type."""
        num_event_types = self.weights.shape[1]
        x = _count_features(query.events, query.users, query.history_ends, num_event_types)
        standardised = _standardise(x, self.center, self.scale)
        # BLAS would add up a single row in another order than many.
        return softmax(np.einsum("qf,fa->qa", standardised, self.weights), axis=1)

    def save(self, file: Path) -> None:
        np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, file: Path) -> NextTypeRegression:
        with np.load(file) as columns:
            return cls(**columns)


def _examples(events: Events, history_ends: np.ndarray, seed: int) -> np.ndarray:
    """Rows of events to learn from: visible, with a history; a random sample if there are many."""
    rows = np.flatnonzero(events.visible(history_ends))
    first_rows = events.starts[events.owners[rows]]
    rows = rows[rows > first_rows]
    if len(rows) <= _MAX_EXAMPLES:
        return rows
    rng = np.random.default_rng(seed)
    return rng.choice(rows, _MAX_EXAMPLES, replace=False)


def _count_features(
    events: Events, users: np.ndarray, history_ends: np.ndarray, num_event_types: int
) -> np.ndarray:
    """[Q, 3 A + 1]: log counts of each type, their shares, the last type, the log length."""
    one_hot = np.eye(num_event_types, dtype=np.int32)
    counts = _type_counts(events, users, history_ends, num_event_types)

    length = counts.sum(1, keepdims=True)
    at_least_one = np.maximum(length, 1)
    shares = counts / at_least_one
    last_row = np.maximum(history_ends - 1, 0)
    types = events.types[last_row] if len(events.types) else np.zeros(len(length), np.uint8)
    last_type = np.where(length > 0, one_hot[types], 0)
    log_counts = np.log1p(counts)
    log_length = np.log(at_least_one)
    return np.concatenate([log_counts, shares, last_type, log_length], axis=1)


def _type_counts(
    events: Events, users: np.ndarray, history_ends: np.ndarray, num_event_types: int
) -> np.ndarray:
    """Events [Q, A] of each type of users [Q] before rows history_ends [Q]."""
    # The events of these users alone; a user may occur in many queries.
    distinct, number = np.unique(users, return_inverse=True)
    starts = events.offsets[distinct]
    lengths = events.offsets[distinct + 1] - starts
    types = events.types[ranges(starts, lengths)]

    # Differences of running counts are the counts of any slice.
    is_type = types[:, None] == np.arange(num_event_types)
    running = np.zeros((len(types) + 1, num_event_types), np.int32)
    np.cumsum(is_type, axis=0, out=running[1:])
    begins = (np.cumsum(lengths) - lengths)[number]
    return running[begins + history_ends - starts[number]] - running[begins]


def _standardise(x: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Standardised features with a column of ones for the bias."""
    standardised = (x - center) / scale
    ones = np.ones((len(x), 1))
    return np.concatenate([standardised, ones], axis=1)


def _fit_weights(x: np.ndarray, types: np.ndarray, num_event_types: int) -> np.ndarray:
    """The weights [F, A] of least cross-entropy with an L2 penalty, by L-BFGS."""
    from scipy.optimize import minimize  # its import takes half a second

    shape = (x.shape[1], num_event_types)
    one_hot = np.eye(num_event_types)[types]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        probabilities = softmax(x @ weights, axis=1)
        of_true_type = probabilities[np.arange(len(x)), types]

        cross_entropy = -np.mean(np.log(of_true_type + 1e-12))
        loss = cross_entropy + _L2 / 2 * np.sum(weights**2)
        errors = probabilities - one_hot
        gradient = x.T @ errors / len(x)
        penalised = gradient + _L2 * weights
        return float(loss), penalised.reshape(-1)

    start = np.zeros(shape[0] * shape[1])
    result = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B")
    return result.x.reshape(shape)
