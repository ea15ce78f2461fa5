"""What will the user do next, whatever it is with? Chances of each event type, and the logistic regression to beat.

The regression reads counts: how often each type occurred in the history, which type came last, how long the history
is. It learns from the training part, as the model does.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.stats

from socialrec_jax.data.world import TEST, VALIDATION, World

_MOST_EXAMPLES = 100_000
_RIDGE = 1e-4


def asked(world: World, part: int) -> tuple[np.ndarray, np.ndarray]:
    """Users [Q] with a history and a held-out event, and the row [Q] of the first one: what they do next."""
    begins = world.ends(part)
    stops = world.ends(TEST) if part == VALIDATION else world.events.offsets[1:]
    users = np.flatnonzero((stops > begins) & (begins > world.events.starts))
    return users, begins[users]


def judge(chances: np.ndarray, types: np.ndarray, names: list[str]) -> dict[str, dict[str, float]]:
    """{event type: AUC, log loss, share} of chances [Q, A] where types [Q] came true; types that are all or none are
    left out."""
    found = {}
    for number, name in enumerate(names):
        truth, p = types == number, np.clip(chances[:, number], 1e-7, 1 - 1e-7)
        if truth.any() and not truth.all():
            loss = -np.mean(np.where(truth, np.log(p), np.log(1 - p)))
            found[name] = {"auc": area(p, truth), "log_loss": float(loss), "share": float(truth.mean())}
    return found


def area(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a true one scores above a false one; ties count half."""
    ranks = scipy.stats.rankdata(scores)
    positives = truth.sum()
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


class CountRegression:
    """Multinomial logistic regression on counts."""

    def __init__(self, world: World, seed: int = 0):
        """Fit on the training part: every event but the first of each user, or a sample of them."""
        self.world = world
        rows = np.flatnonzero(np.arange(len(world.events.items)) < world.ends(VALIDATION)[world.events.owners])
        rows = rows[rows > world.events.starts[world.events.owners[rows]]]
        if len(rows) > _MOST_EXAMPLES:
            rows = np.random.default_rng(seed).choice(rows, _MOST_EXAMPLES, replace=False)
        x, types = self._features(rows), world.events.types[rows]
        self.center, self.scale = x.mean(0), x.std(0) + 1e-6
        x = self._standard(x)
        shape = (x.shape[1], len(world.event_types))

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(shape)
            chances = _softmax(x @ weights)
            gradient = x.T @ (chances - np.eye(shape[1])[types]) / len(x) + _RIDGE * weights
            value = -np.mean(np.log(chances[np.arange(len(x)), types] + 1e-12)) + _RIDGE / 2 * np.sum(weights**2)
            return float(value), gradient.reshape(-1)

        fitted = scipy.optimize.minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B")
        self.weights = fitted.x.reshape(shape)

    def chances(self, rows: np.ndarray) -> np.ndarray:
        """[Q, A] that the event in each row is of each type, from what its user did before."""
        return _softmax(self._standard(self._features(rows)) @ self.weights)

    def _features(self, rows: np.ndarray) -> np.ndarray:
        """[Q, 3 A + 1] counts of each type before rows, their shares, which came last, and how many there were."""
        events, A = self.world.events, len(self.world.event_types)
        running = np.zeros((len(events.types) + 1, A), np.int32)
        np.cumsum(np.eye(A, dtype=np.int32)[events.types], axis=0, out=running[1:])
        counts = running[rows] - running[events.starts[events.owners[rows]]]
        total = np.maximum(counts.sum(1, keepdims=True), 1)
        return np.concatenate([np.log1p(counts), counts / total, np.eye(A)[events.types[rows - 1]], np.log(total)], 1)

    def _standard(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([(x - self.center) / self.scale, np.ones((len(x), 1))], axis=1)


def _softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
