"""The baselines with tuned settings: what the model is compared with in every table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.config import SELECT_BY
from socialrec_jax.data.csr import sorted_distinct
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.features.recent_items import recent_items
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.evaluation import baselines
from socialrec_jax.evaluation.protocol import EvaluationQueries, EvaluationResult
from socialrec_jax.evaluation.sparse_scores import PopularList, evaluate_sparse

Evaluate = Callable[[EvaluationQueries], EvaluationResult]
_TUNING_QUERIES = 5000  # validation users on whom settings are tried: there are a dozen


def fit_tuned_baselines(
    world: World, validation: EvaluationQueries, item_knn: ItemKNN | None = None
) -> dict[str, Evaluate]:
    """Baselines by name, each counted from the training part and tuned on the validation queries.

    item_knn: the tuned one, where there is one already.
    """
    sample = validation.sample(_TUNING_QUERIES, seed=0)
    history_ends = world.history_ends(BEFORE_VALIDATION)
    if item_knn is None:
        settings = tuned_item_knn(world, validation)
        item_knn = ItemKNN.fit(world.events, history_ends, world.num_items, settings)

    # Tuned on a sample, evaluated on all: a dozen settings on all queries would take minutes.
    user_knn = baselines.tune_user_knn(
        world, history_ends, lambda candidate: _value(_by_user_knn(world, candidate), sample)
    )
    user_knn_name = "user-kNN and friends" if len(world.friends.ids) else "user-kNN"
    return {
        "popular": _popular(world, history_ends),
        "recently popular": _recently_popular(world, history_ends, sample),
        "item-kNN": _by_item_knn(world, item_knn),
        user_knn_name: _by_user_knn(world, user_knn),
    }


def tuned_item_knn(world: World, validation: EvaluationQueries) -> ItemKNNSettings:
    """The settings of the item-kNN that validate best: of a baseline, and of a feature of the
    ranker.
    """
    sample = validation.sample(_TUNING_QUERIES, seed=0)
    history_ends = world.history_ends(BEFORE_VALIDATION)
    # The sample's scores read no other rows of the similarity, which are most of a large shop.
    recent = recent_items(sample.query, world.num_items, decay=1.0)
    items = sorted_distinct(recent.indices)

    def fit(settings: ItemKNNSettings) -> ItemKNN:
        return ItemKNN.fit(world.events, history_ends, world.num_items, settings, only=items)

    return baselines.tune_item_knn(
        fit, lambda candidate: _value(_by_item_knn(world, candidate), sample)
    )


def _popular(world: World, history_ends: np.ndarray) -> Evaluate:
    return _by_popularity(baselines.popular(world.events, history_ends, world.num_items))


def _recently_popular(
    world: World, history_ends: np.ndarray, sample: EvaluationQueries
) -> Evaluate:
    popularity = baselines.tune_recently_popular(
        world.events,
        history_ends,
        world.num_items,
        lambda candidate: _value(_by_popularity(candidate), sample),
    )
    return _by_popularity(popularity)


def _by_popularity(popularity: np.ndarray) -> Evaluate:
    return PopularList.of(popularity).evaluate


def _by_item_knn(world: World, item_knn: ItemKNN) -> Evaluate:
    return _by_scores(item_knn.scores, world.num_items)


def _by_user_knn(world: World, user_knn: baselines.UserKNN) -> Evaluate:
    return _by_scores(user_knn.scores, world.num_items)


def _by_scores(scores: Callable[[Query], sparse.csr_array], num_items: int) -> Evaluate:
    return lambda queries: evaluate_sparse(lambda part: scores(part.query), queries, num_items)


def _value(evaluate: Evaluate, sample: EvaluationQueries) -> float:
    """What settings are chosen by; 0 when nobody is left to validate on."""
    return evaluate(sample).metrics[SELECT_BY] if len(sample) else 0.0
