"""The baselines at their best, as judges of queries: what the model is compared with in every table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from socialrec_jax.config import SELECT_BY
from socialrec_jax.data.world import VALIDATION, World
from socialrec_jax.evaluation import baselines
from socialrec_jax.evaluation.protocol import Judgement, Queries, judge_popularity, judge_scorer

Judge = Callable[[Queries], Judgement]
_TUNING_QUERIES = 5000  # validation users on whom settings are tried: there are a dozen


def fit_rivals(world: World, validation: Queries) -> dict[str, Judge]:
    """Baselines by name, each counted from the training part and tuned on the validation queries."""
    ends, V = world.ends(VALIDATION), world.num_items

    def by_scores(scores: Callable[[Queries], np.ndarray]) -> Judge:
        return lambda queries: judge_scorer(scores, queries, V)

    def by_popularity(popularity: np.ndarray) -> Judge:
        return lambda queries: judge_popularity(popularity, queries)

    def by_cosine(cosine: baselines.ItemCosine) -> Judge:
        return by_scores(lambda q: cosine.scores(world.events, q.users, q.ends))

    def by_neighbours(neighbours: baselines.UserNeighbours) -> Judge:
        return by_scores(lambda q: neighbours.scores(world.events, q.users, q.ends, q.moments))

    sample = validation.sample(_TUNING_QUERIES, seed=0)

    def value(judge: Judge) -> float:
        return judge(sample).metrics[SELECT_BY] if len(sample) else 0.0

    recent = baselines.tune_recently_popular(world.events, ends, V, lambda p: value(by_popularity(p)))
    cosine, _ = baselines.tune_cosine(world.events, ends, V, lambda c: value(by_cosine(c)))
    neighbours = baselines.tune_neighbours(world, ends, lambda n: value(by_neighbours(n)))
    return {
        "popular": by_popularity(baselines.popular(world.events, ends, V)),
        "recently popular": by_popularity(recent),
        "item cosine": by_cosine(cosine),
        "user neighbours" + (" and friends" if len(world.friends.ids) else ""): by_neighbours(neighbours),
    }
