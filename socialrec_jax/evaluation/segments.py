"""For whom it works: queries apart by how well the item, the user and the moment are known."""

from __future__ import annotations

import numpy as np

from socialrec_jax.data.world import World
from socialrec_jax.evaluation.protocol import EvaluationQueries, EvaluationResult

COLD_ITEM_EVENTS = 4  # a target with at most so many training events is cold
_SHOWN = ("hr@10", "ndcg@10")


def segments(world: World, queries: EvaluationQueries) -> dict[str, np.ndarray]:
    """Masks [Q] by name. A query with several targets goes by its first one."""
    first = queries.targets.offsets[:-1]
    rows, items = queries.target_rows[first], queries.targets.items[first]
    cold = queries.item_counts[items] <= COLD_ITEM_EVENTS
    lengths = queries.query.history_ends - world.events.starts[queries.users]
    long = lengths > np.median(lengths)
    friends = np.diff(world.friends.offsets)[queries.users]
    times = world.events.times
    last_seen = times[np.maximum(queries.query.history_ends - 1, 0)]
    tied = (lengths > 0) & (times[rows] == last_seen)
    masks = {
        "warm items": ~cold,
        "cold items": cold,
        "short histories": ~long,
        "long histories": long,
        "strictly later": ~tied,
        "tied in time": tied,
    }
    if friends.any():
        masks |= {
            "no friends": friends == 0,
            "1-5 friends": (friends > 0) & (friends <= 5),
            "6+ friends": friends > 5,
        }
    return {name: mask for name, mask in masks.items() if mask.any()}


def by_segment(
    evaluation_result: EvaluationResult, masks: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """{segment: {n, hr@10, ndcg@10}}."""
    return {
        name: {
            "n": int(mask.sum()),
            **{
                metric: float(evaluation_result.per_query[metric][mask].mean()) for metric in _SHOWN
            },
        }
        for name, mask in masks.items()
    }
