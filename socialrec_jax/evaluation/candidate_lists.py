"""Lists of candidates with scores: the ranks of the held-out items in them, and their labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from socialrec_jax.evaluation.protocol import (
    CUTOFFS,
    EvaluationQueries,
    EvaluationResult,
    evaluation_result,
)
from socialrec_jax.inference.index import UNRANKED

_TARGETS_AT_ONCE = 4096  # compared with their lists together: bounds memory


def ranks_in_lists(items: np.ndarray, values: np.ndarray, queries: EvaluationQueries) -> np.ndarray:
    """Rank [M] of each target of queries [Q] in lists of items [Q, C] with values [Q, C], best
    first.

    A value of -inf marks a place without a candidate. A target that is not in its list is
    UNRANKED. Ties count against the model.
    """
    query_of_target = queries.targets.owners
    ranks = np.empty(len(query_of_target), np.int64)

    for chunk in _chunks_of_targets(len(query_of_target)):
        rows = query_of_target[chunk]
        row_values = values[rows]
        is_target = items[rows] == queries.targets.items[chunk, None]
        is_target &= np.isfinite(row_values)

        # A list has an item once at most, so the maximum is the target's own value.
        target_value = np.max(np.where(is_target, row_values, -np.inf), axis=1)
        rank = np.sum(row_values >= target_value[:, None], axis=1)
        ranks[chunk] = np.where(is_target.any(axis=1), rank, UNRANKED)

    return ranks


def evaluate_lists(
    items: np.ndarray, values: np.ndarray, queries: EvaluationQueries, num_items: int
) -> EvaluationResult:
    """Metrics of lists of items [Q, C] with values [Q, C], best first; see `ranks_in_lists`."""
    ranks = ranks_in_lists(items, values, queries)
    # Coverage and novelty need no more than the largest cutoff.
    top_items = items[:, : max(CUTOFFS)]
    return evaluation_result(ranks, top_items, queries, num_items)


def evaluate_unsorted(
    items: np.ndarray, values: np.ndarray, queries: EvaluationQueries, num_items: int
) -> EvaluationResult:
    """The same for lists in any order."""
    # Stable, so that equal values keep their order on every machine.
    order = np.argsort(-values, axis=1, kind="stable")
    sorted_items = np.take_along_axis(items, order, axis=1)
    sorted_values = np.take_along_axis(values, order, axis=1)
    return evaluate_lists(sorted_items, sorted_values, queries, num_items)


def labels(
    items: np.ndarray,
    exists: np.ndarray,
    queries: EvaluationQueries,
    types: np.ndarray,
    num_types: int,
) -> np.ndarray:
    """[Q, C, A] float32: 1 where the query's user has an event of this type with the candidate in
    the held-out part.

    types [M]: event type of each target.
    """
    labels = np.zeros((*items.shape, num_types), np.float32)
    query_of_target = queries.targets.owners

    for chunk in _chunks_of_targets(len(query_of_target)):
        rows = query_of_target[chunk]
        is_target = items[rows] == queries.targets.items[chunk, None]
        # The same candidate may have several types: each is a label of its own.
        target, position = np.nonzero(is_target & exists[rows])
        labels[rows[target], position, types[chunk][target]] = 1

    return labels


def _chunks_of_targets(num_targets: int) -> Iterator[slice]:
    for begin in range(0, num_targets, _TARGETS_AT_ONCE):
        yield slice(begin, begin + _TARGETS_AT_ONCE)
