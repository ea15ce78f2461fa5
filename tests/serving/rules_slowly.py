"""The list of one user by all rules, item by item in plain Python from dense scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from socialrec_jax.data.world import World
from socialrec_jax.serving.recommender import Recommender

_DAY = 86400


@dataclasses.dataclass(frozen=True)
class SlowRules:
    """Rules as functions of (user, item), and the options that stand for them."""

    options: dict
    may_come: Callable[[int, int], bool] = lambda user, item: True
    is_promoted: Callable[[int], bool] | None = None


def dense_scores(recommender: Recommender, users: list[int]) -> np.ndarray:
    """The scores [n, V] of all items, by the task `score`."""
    world = recommender.engine.world
    ids = world.items.ids.tolist()
    pairs = {
        "user_id": np.repeat([world.user_ids[user] for user in users], len(ids)),
        "item_id": np.tile(ids, len(users)),
    }
    scored = recommender.score(pa.table(pairs))
    return np.asarray(scored["score"]).reshape(len(users), -1)


def list_slowly(recommender: Recommender, rules: SlowRules, user: int, scores, k: int) -> list[int]:
    """The items of a user; scores [V]: of all items."""
    engine, options = recommender.engine, rules.options
    values = _values(recommender, rules, user, scores)
    quotas = _quotas(engine.world, rules, k)
    vectors = np.asarray(engine.catalogue)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    diversity, limit = options.get("diversity", 0), options.get("per_category", 10**9)
    chosen: list[int] = []

    def merit(item: int) -> float:
        worst, best = min(values.values()), max(values.values())
        relevance = (values[item] - worst) / (best - worst)
        similarity = max((vectors[item] @ vectors[other] for other in chosen), default=0)
        return (1 - diversity) * relevance - diversity * similarity

    while len(chosen) < k:
        possible = [
            item
            for item in values
            if item not in chosen and sum(other % 4 == item % 4 for other in chosen) < limit
        ]
        members, needed = set(), 0
        for of_quota, places in quotas:
            places_left = places - len(of_quota & set(chosen))
            if places_left > 0:
                members |= of_quota & set(possible)
                needed += min(places_left, len(of_quota & set(possible)))
        if needed and needed >= k - len(chosen):
            possible = [item for item in possible if item in members]
        if not possible:
            break
        chosen.append(max(possible, key=merit))
    return chosen


def _values(recommender: Recommender, rules: SlowRules, user: int, scores) -> dict[int, float]:
    """What the items that may come are chosen by."""
    engine, options = recommender.engine, rules.options
    world, popularity = engine.world, engine.popularity()
    now = int(world.query_times()[user])
    begin, end = world.events.offsets[user : user + 2]
    last = dict(zip(world.events.items[begin:end], world.events.times[begin:end], strict=True))
    values = {}
    for item in range(world.num_items):
        if not rules.may_come(user, item) or not world.items.available[item]:
            continue
        value = float(scores[item])
        if item in last:
            half_life = options.get("repeats_half_life")
            if half_life is None and not options.get("repeats"):
                continue
            if half_life is not None:
                value += np.log(1 - 2 ** (-(now - last[item]) / _DAY / half_life))
        less_popular = sum(other < popularity[item] for other in popularity)
        value += options.get("boost_popularity", 0) * less_popular / (world.num_items - 1)
        value += options.get("boost_freshness", 0) * 0.5 ** (age_in_days(world, item) / 30)
        values[item] = value
    return values


def age_in_days(world: World, item: int) -> float:
    """Since the first event of an item; 0 without one."""
    times = world.events.times[world.events.items == item]
    return (int(world.query_times()[0]) - times.min()) / _DAY if len(times) else 0


def _quotas(world: World, rules: SlowRules, k: int) -> list[tuple[set[int], int]]:
    """(members, places) of each quota."""
    options, quotas = rules.options, []
    everything = range(world.num_items)
    if rules.is_promoted is not None:
        promoted = {item for item in everything if rules.is_promoted(item)}
        quotas.append((promoted, int(np.ceil(round(options.get("promote_share", 0.2) * k, 9)))))
    if "new_items" in options:
        days = options["new_items_days"]
        new = {item for item in everything if age_in_days(world, item) <= days}
        quotas.append((new, int(np.ceil(round(options["new_items"] * k, 9)))))
    return quotas
