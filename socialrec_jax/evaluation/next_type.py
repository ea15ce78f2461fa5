"""How well the type of a user's next event is predicted, whatever item it is about."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.ranks import average_ranks
from socialrec_jax.data.world import BEFORE_TEST, VALIDATION, World


def next_type_queries(world: World, part: int) -> tuple[np.ndarray, np.ndarray]:
    """Users [Q] with a history and a held-out event, and the row [Q] of the first one: what they do
    next.
    """
    begins = world.history_ends(AsOf.before(part))
    stops = world.history_ends(BEFORE_TEST) if part == VALIDATION else world.events.offsets[1:]
    users = np.flatnonzero((stops > begins) & (begins > world.events.starts))
    return users, begins[users]


def evaluate(
    probabilities: np.ndarray, types: np.ndarray, names: list[str]
) -> dict[str, dict[str, float]]:
    """{event type: AUC, log loss, share} of probabilities [Q, A] where types [Q] happened.

    A type that happened always or never is left out: it has no AUC.
    """
    results = {}
    for number, name in enumerate(names):
        is_type = types == number
        # With one class alone there are no pairs to order.
        if is_type.any() and not is_type.all():
            results[name] = _binary_metrics(probabilities[:, number], is_type)
    return results


def _binary_metrics(probability: np.ndarray, is_type: np.ndarray) -> dict[str, float]:
    # Clipped, so that one wrong certainty does not make the loss infinite.
    probability = np.clip(probability, 1e-7, 1 - 1e-7)
    return {
        "auc": roc_auc(probability, is_type),
        "log_loss": _log_loss(probability, is_type),
        "share": float(is_type.mean()),
    }


def _log_loss(probability: np.ndarray, is_type: np.ndarray) -> float:
    """Mean negative log likelihood in nats of what happened."""
    log_likelihood = np.where(is_type, np.log(probability), np.log(1 - probability))
    return float(-np.mean(log_likelihood))


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative; ties count
    half. It is the Mann-Whitney statistic, divided by the number of pairs.
    """
    num_positives = int(positive.sum())
    num_negatives = len(positive) - num_positives
    # The positives among themselves have the ranks 1 to num_positives.
    among_themselves = num_positives * (num_positives + 1) / 2
    statistic = average_ranks(scores)[positive].sum() - among_themselves
    return float(statistic / (num_positives * num_negatives))
