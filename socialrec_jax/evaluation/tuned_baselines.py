"""The baselines at their best, as judges of queries: what the model is compared with in every table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from socialrec_jax.config import SELECT_BY
from socialrec_jax.data.features.item_knn import CosineSettings, ItemCosine
from socialrec_jax.data.world import VALIDATION, World
from socialrec_jax.evaluation import baselines
from socialrec_jax.evaluation.protocol import Judgement, Queries, judge_popularity, judge_scorer

Judge = Callable[[Queries], Judgement]
_TUNING_QUERIES = 5000  # validation users on whom settings are tried: there are a dozen


def fit_rivals(
    world: World, validation: Queries, cosine: ItemCosine | None = None
) -> dict[str, Judge]:
    """Baselines by name, each counted from the training part and tuned on the validation queries.

    cosine: the tuned one, where it is known already.
    """
    ends, V = world.ends(VALIDATION), world.num_items

    def by_popularity(popularity: np.ndarray) -> Judge:
        return lambda queries: judge_popularity(popularity, queries)

    def by_neighbours(neighbours: baselines.UserNeighbours) -> Judge:
        return _by_scores(lambda q: neighbours.scores(world.events, q.users, q.ends, q.moments), V)

    sample = validation.sample(_TUNING_QUERIES, seed=0)
    recent = baselines.tune_recently_popular(
        world.events, ends, V, lambda p: _value(by_popularity(p), sample)
    )
    neighbours = baselines.tune_neighbours(world, ends, lambda n: _value(by_neighbours(n), sample))
    return {
        "popular": by_popularity(baselines.popular(world.events, ends, V)),
        "recently popular": by_popularity(recent),
        "item cosine": _by_cosine(world, cosine or tuned_cosine(world, validation)[0]),
        "user neighbours" + (" and friends" if len(world.friends.ids) else ""): by_neighbours(
            neighbours
        ),
    }


def tuned_cosine(world: World, validation: Queries) -> tuple[ItemCosine, CosineSettings]:
    """The item cosine at its best: a baseline, and a signal of the ranker."""
    sample = validation.sample(_TUNING_QUERIES, seed=0)
    ends, V = world.ends(VALIDATION), world.num_items
    return baselines.tune_cosine(
        world.events, ends, V, lambda c: _value(_by_cosine(world, c), sample)
    )


def _by_cosine(world: World, cosine: ItemCosine) -> Judge:
    return _by_scores(lambda q: cosine.scores(world.events, q.users, q.ends), world.num_items)


def _by_scores(scores: Callable[[Queries], np.ndarray], num_items: int) -> Judge:
    return lambda queries: judge_scorer(scores, queries, num_items)


def _value(judge: Judge, sample: Queries) -> float:
    return judge(sample).metrics[SELECT_BY] if len(sample) else 0.0
