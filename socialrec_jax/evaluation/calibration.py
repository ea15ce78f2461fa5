"""Calibration of the ranker: predicted probabilities beside what happened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from socialrec_jax.data.world import World
from socialrec_jax.evaluation import candidate_lists
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.inference.reranker import RankedLists

Curve = list[tuple[float, float, int]]


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> Curve:
    """(mean probability, share of positives, count) of each of `bins` equally large groups of
    predictions [n], from the least probable on.
    """
    # Groups of one size: most probabilities are tiny, and groups of one width would be empty.
    order = np.argsort(probabilities, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    return [
        (float(probabilities[group].mean()), float(labels[group].mean()), len(group))
        for group in groups
    ]


def predictions_and_labels(
    world: World, lists: RankedLists, queries: EvaluationQueries
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels [n, A] of all n candidates in the lists of these queries."""
    # Lists are filled up with scores of -inf.
    exists = np.isfinite(lists.scores)
    types = world.events.types[queries.target_rows]
    labels = candidate_lists.labels(lists.items, exists, queries, types, len(world.event_types))
    return lists.probabilities[exists], labels[exists]


def reliability_by_type(
    predictions: Sequence[tuple[np.ndarray, np.ndarray]], event_types: Sequence[str]
) -> dict[str, Curve]:
    """{event type: reliability} of chunks of (probabilities [n, A], labels [n, A])."""
    probabilities = np.concatenate([chunk for chunk, _ in predictions])
    labels = np.concatenate([chunk for _, chunk in predictions])
    return {
        name: reliability(probabilities[:, number], labels[:, number])
        for number, name in enumerate(event_types)
    }
