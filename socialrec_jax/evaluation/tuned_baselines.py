"""The baselines at their best, as judges of queries: what the model is compared with in every
table.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from socialrec_jax.config import SELECT_BY
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.evaluation import baselines
from socialrec_jax.evaluation.protocol import (
    EvaluationQueries,
    EvaluationResult,
    evaluate_popularity,
    evaluate_scorer,
)

Evaluate = Callable[[EvaluationQueries], EvaluationResult]
_TUNING_QUERIES = 5000  # validation users on whom settings are tried: there are a dozen


def fit_tuned_baselines(
    world: World, validation: EvaluationQueries, cosine: ItemKNN | None = None
) -> dict[str, Evaluate]:
    """Baselines by name, each counted from the training part and tuned on the validation queries.

    cosine: the tuned one, where it is known already.
    """
    history_ends, V = world.history_ends(BEFORE_VALIDATION), world.num_items

    def by_popularity(popularity: np.ndarray) -> Evaluate:
        return lambda queries: evaluate_popularity(popularity, queries)

    def by_neighbours(neighbours: baselines.UserKNN) -> Evaluate:
        return _by_scores(lambda q: neighbours.scores(q.query), V)

    sample = validation.sample(_TUNING_QUERIES, seed=0)
    recent = baselines.tune_recently_popular(
        world.events, history_ends, V, lambda p: _value(by_popularity(p), sample)
    )
    neighbours = baselines.tune_user_knn(
        world, history_ends, lambda n: _value(by_neighbours(n), sample)
    )
    return {
        "popular": by_popularity(baselines.popular(world.events, history_ends, V)),
        "recently popular": by_popularity(recent),
        "item cosine": _by_item_knn(world, cosine or tuned_item_knn(world, validation)[0]),
        "user neighbours" + (" and friends" if len(world.friends.ids) else ""): by_neighbours(
            neighbours
        ),
    }


def tuned_item_knn(world: World, validation: EvaluationQueries) -> tuple[ItemKNN, ItemKNNSettings]:
    """The item cosine at its best: a baseline, and a signal of the ranker."""
    sample = validation.sample(_TUNING_QUERIES, seed=0)
    history_ends, V = world.history_ends(BEFORE_VALIDATION), world.num_items
    return baselines.tune_item_knn(
        world.events, history_ends, V, lambda c: _value(_by_item_knn(world, c), sample)
    )


def _by_item_knn(world: World, cosine: ItemKNN) -> Evaluate:
    return _by_scores(
        lambda q: cosine.scores(world.events, q.users, q.query.history_ends), world.num_items
    )


def _by_scores(scores: Callable[[EvaluationQueries], np.ndarray], num_items: int) -> Evaluate:
    return lambda queries: evaluate_scorer(scores, queries, num_items)


def _value(evaluate: Evaluate, sample: EvaluationQueries) -> float:
    return evaluate(sample).metrics[SELECT_BY] if len(sample) else 0.0
