"""Metrics of groups of queries: by item, by length of history, by time, by number of friends."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.world import World
from socialrec_jax.evaluation.protocol import EvaluationQueries, EvaluationResult

COLD_ITEM_EVENTS = 4  # a target with at most so many training events is cold
_METRICS = ("hr@10", "ndcg@10")


def segments(world: World, queries: EvaluationQueries) -> dict[str, np.ndarray]:
    """Masks [Q] by name; segments without queries are left out.

    A query with several targets goes by its first one.
    """
    masks = _by_item(queries) | _by_history(world, queries) | _by_time(world, queries)
    masks |= _by_friends(world, queries)
    return {name: mask for name, mask in masks.items() if mask.any()}


def by_segment(
    result: EvaluationResult, masks: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """{segment: {n, hr@10, ndcg@10}}."""
    return {name: _segment_metrics(result, mask) for name, mask in masks.items()}


def _segment_metrics(result: EvaluationResult, mask: np.ndarray) -> dict[str, float]:
    means = {metric: float(result.per_query[metric][mask].mean()) for metric in _METRICS}
    return {"n": int(mask.sum())} | means


def _by_item(queries: EvaluationQueries) -> dict[str, np.ndarray]:
    first_target = queries.targets.items[queries.targets.offsets[:-1]]
    cold = queries.item_counts[first_target] <= COLD_ITEM_EVENTS
    return {"warm items": ~cold, "cold items": cold}


def _by_history(world: World, queries: EvaluationQueries) -> dict[str, np.ndarray]:
    # The median of these queries: a fixed length would split no two shops alike.
    lengths = _history_lengths(world, queries)
    # Of nobody there is no median.
    long = lengths > (np.median(lengths) if len(lengths) else 0)
    return {"short histories": ~long, "long histories": long}


def _by_time(world: World, queries: EvaluationQueries) -> dict[str, np.ndarray]:
    """Where the target has the time of the last known event, the order of the file may tell it."""
    times = world.events.times
    target_times = times[queries.target_rows[queries.targets.offsets[:-1]]]
    last_known = times[np.maximum(queries.query.history_ends - 1, 0)]
    tied = (_history_lengths(world, queries) > 0) & (target_times == last_known)
    return {"strictly later": ~tied, "tied in time": tied}


def _by_friends(world: World, queries: EvaluationQueries) -> dict[str, np.ndarray]:
    # Friends of the whole World, whenever the friendship began.
    friends = np.diff(world.friends.offsets)[queries.users]
    if not friends.any():
        return {}
    return {
        "no friends": friends == 0,
        "1-5 friends": (friends > 0) & (friends <= 5),
        "6+ friends": friends > 5,
    }


def _history_lengths(world: World, queries: EvaluationQueries) -> np.ndarray:
    return queries.query.history_ends - world.events.starts[queries.users]
