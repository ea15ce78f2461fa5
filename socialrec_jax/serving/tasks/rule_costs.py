"""What business rules change: the lists without each of them, and their NDCG on the test part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.sparse_rows import positions
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import BEFORE_TEST, TEST
from socialrec_jax.evaluation import metrics
from socialrec_jax.evaluation.protocol import EvaluationQueries, held_out
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.index import UNRANKED
from socialrec_jax.serving.tasks.recommend_lists import Lists
from socialrec_jax.serving.tasks.recommend_options import RecommendOptions

ListOfUsers = list[list[int]]  # the items of each user, the best first

AVAILABILITY = "availability"
_NO_RULES = {
    *("k", "histories", "unavailable", "placement", "reasons", "language", "privacy"),
    *("promote_share", "new_items_days"),  # say how another rule works
}
_EVALUATED_USERS = 2000  # at most; a random sample


def active_rules(
    engine: Engine, as_of: AsOf, options: RecommendOptions
) -> dict[str, RecommendOptions]:
    """{rule as on the command line: the options without it}."""
    rules = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name not in _NO_RULES and value != field.default:
            without = dataclasses.replace(options, **{field.name: field.default})
            rules[_as_option(field.name, value)] = without
    leaves_out = as_of.is_now and not options.unavailable
    if leaves_out and not engine.world.items.available.all():
        rules[AVAILABILITY] = dataclasses.replace(options, unavailable=True)
    return rules


def _as_option(name: str, value: Any) -> str:
    option = f"--{name.replace('_', '-')}"
    return option if value is True else f"{option} {value}"


def lists_of(engine: Engine, as_of: AsOf, options: RecommendOptions, query: Query) -> ListOfUsers:
    """The recommended items of each user of a query."""
    lists: ListOfUsers = []
    for part in Lists.of(engine, options, as_of).parts(query):
        rows = zip(part.items, part.exists, strict=True)
        lists += [items[exists].tolist() for items, exists in rows]
    return lists


def ndcg_of(
    evaluated: Callable[[], Any], options: RecommendOptions, rules: dict[str, RecommendOptions]
) -> dict[str, tuple[float, float]]:
    """{rule: (NDCG@k with all rules, without this one)} on the test part, k = 10 or less.

    Rules that cannot be measured are left out: what was available then is not known, and new users
    have no test part.
    """
    measured = {name: other for name, other in rules.items() if name != AVAILABILITY}
    if not measured:
        return {}
    engine = evaluated().engine
    # What was held out is new to this model alone: the refitted one has learnt from it.
    queries = held_out(engine.world, TEST).sample_of_users(_EVALUATED_USERS, engine.config.seed)
    if not len(queries):
        return {}
    whole = _ndcg(engine, options, queries)
    return {name: (whole, _ndcg(engine, other, queries)) for name, other in measured.items()}


def _ndcg(engine: Engine, options: RecommendOptions, queries: EvaluationQueries) -> float:
    query = engine.query(queries.users, BEFORE_TEST)
    lists = lists_of(engine, BEFORE_TEST, options, query)
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in lists])])
    items = [item for listed in lists for item in listed]
    listed = Pairs(offsets, np.array(items, np.int32))

    at = positions(queries.targets, listed, engine.world.num_items)
    places = at - offsets[queries.targets.owners] + 1
    ranks = np.where(at >= 0, places, UNRANKED)
    k = min(options.k, 10)
    per_query = metrics.per_query(ranks, queries.targets.offsets, (k,))
    return float(per_query[f"ndcg@{k}"].mean())
