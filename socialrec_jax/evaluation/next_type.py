"""What will the user do next, whatever it is with? How good the chances of each event type are."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.as_of import AsOf
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
    """{event type: AUC, log loss, share} of chances [Q, A] where types [Q] came true; types that
    are all or none are left out."""
    found = {}
    for number, name in enumerate(names):
        truth, p = types == number, np.clip(probabilities[:, number], 1e-7, 1 - 1e-7)
        if truth.any() and not truth.all():
            loss = -np.mean(np.where(truth, np.log(p), np.log(1 - p)))
            found[name] = {
                "auc": area(p, truth),
                "log_loss": float(loss),
                "share": float(truth.mean()),
            }
    return found


def area(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a true one scores above a false one; ties count
    half.
    """
    from scipy.stats import rankdata  # takes a second to import

    ranks = rankdata(scores)
    positives = truth.sum()
    return float(
        (ranks[truth].sum() - positives * (positives + 1) / 2)
        / (positives * (len(truth) - positives))
    )
