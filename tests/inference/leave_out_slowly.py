"""What a recommendation's score loses without an input, by engines that never had it.

    python -m tests.inference.leave_out_slowly RUN [NUMBER]

compares NUMBER (1,000) random exact reasons of a run with it, and prints the largest difference.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.query import friend_sampler_of
from socialrec_jax.data.world import NOW, World
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.pair_scores import Retrieval, log_totals, score_pairs
from socialrec_jax.serving.recommender import Recommender


def score_of(engine: Engine, user: int, item: int, time: int, **replaced) -> float:
    """The score of one pair, by the engine alone; replaced: what is known of its retrieval."""
    query = engine.query(np.array([user]))
    query = dataclasses.replace(query, query_times=np.array([time]))
    pairs = Pairs(np.array([0, 1]), np.array([item], np.int32))
    retrieval = dataclasses.replace(Retrieval.of(engine, query), **replaced)
    return float(score_pairs(engine, query, pairs, retrieval)[0][0])


def with_world(engine: Engine, world: World) -> Engine:
    sampler = friend_sampler_of(world, engine.config.seed)
    return dataclasses.replace(engine, world=world, friend_sampler=sampler)


def without_history_item(engine: Engine, user: int, item: int) -> Engine:
    """Of a World in which this user never had the item."""
    world, events = engine.world, engine.world.events
    stays = (events.owners != user) | (events.items != item)
    counts = np.bincount(events.owners[stays], minlength=world.num_users)
    columns = {name: getattr(events, name)[stays] for name in ("items", "times", "types", "values")}
    fewer = dataclasses.replace(events, offsets=np.concatenate([[0], np.cumsum(counts)]), **columns)
    splits = world.event_splits[stays]
    return with_world(engine, dataclasses.replace(world, events=fewer, event_splits=splits))


def without_friends(engine: Engine, user: int) -> Engine:
    """Of a World in which this user has no friends."""
    friends = engine.world.friends
    owners = np.repeat(np.arange(engine.world.num_users), np.diff(friends.offsets))
    stays = owners != user
    counts = np.bincount(owners[stays], minlength=engine.world.num_users)
    columns = {name: getattr(friends, name)[stays] for name in ("ids", "weights", "times")}
    fewer = dataclasses.replace(
        friends, offsets=np.concatenate([[0], np.cumsum(counts)]), **columns
    )
    return with_world(engine, dataclasses.replace(engine.world, friends=fewer))


def without_text(engine: Engine, item: int) -> Engine:
    """An engine made anew, where one item has no text and no labels."""
    texts = engine.texts.copy()
    texts[item] = 0
    reranker = engine.reranker
    assert reranker is not None
    features, params = reranker.generator.features, engine.variables["params"]
    blank = {}
    for name in ("labels", "words"):
        matrix = getattr(features, name).tolil()
        matrix[item] = 0
        blank[name] = matrix.tocsr()
    known = np.asarray(engine.variables["fixed"]["items"]["known"])
    other = Engine.create(
        engine.world, engine.config, engine.model, params, texts=texts, known=known
    )
    return other.with_ranker(dataclasses.replace(features, **blank), reranker.params)


def without_popularity(engine: Engine, item: int) -> Engine:
    """An engine in which one item is as popular as the least popular one."""
    assert engine.reranker is not None
    features = engine.reranker.generator.features
    popularity = features.item_popularity.copy()
    popularity[item] = popularity[popularity[:, 1].argmin()]
    features = dataclasses.replace(features, item_popularity=popularity)
    return engine.with_ranker(features, engine.reranker.params)


def lowered_by(engine: Engine, user: int, item: int, kind: str, named: int, time: int) -> float:
    """How much the score of a pair is lower without an input, computed by other engines."""
    if kind == "text":
        # Histories keep the text: it is left out of the candidate.
        other = without_text(engine, item)
        states = engine.states(engine.query(np.array([user])))
        retrieval = retrieval_by(engine, other, user, states)
        return score_of(engine, user, item, time) - score_of(other, user, item, time, **retrieval)
    other = {
        "history": lambda: without_history_item(engine, user, named),
        "friends": lambda: without_friends(engine, user),
        "popularity": lambda: without_popularity(engine, item),
    }[kind]()
    return score_of(engine, user, item, time) - score_of(other, user, item, time)


def retrieval_by(engine: Engine, other: Engine, user: int, states: np.ndarray) -> dict:
    """The retrieval of a state of the engine by the item vectors of another one."""
    query = engine.query(np.array([user]))
    seen = query.events.histories(query.users, query.history_ends)
    return {"states": states, "log_totals": log_totals(other, query, states, seen)}


def main(run: str, number: int) -> None:
    """Compare random reasons of random users."""
    recommender = Recommender.load(Path(run))
    engine, rng = recommender.engine, np.random.default_rng(0)
    world = engine.world
    with_history = np.flatnonzero(np.diff(world.events.offsets))
    users = rng.choice(with_history, min(number, len(with_history)), replace=False)
    table = recommender.recommend([world.user_ids[user] for user in users], reasons="exact")
    rows = [(row, why) for row in table.to_pylist() for why in row["reasons"]]

    time = int(world.query_times(NOW)[0])
    differences, kinds = [], Counter()
    for index in rng.choice(len(rows), min(number, len(rows)), replace=False):
        row, why = rows[index]
        (user,) = world.user_ids.lookup([row["user_id"]]).tolist()
        item, named = world.items.ids.lookup([row["item_id"], why["item_id"] or ""]).tolist()
        expected = lowered_by(engine, user, item, why["kind"], named, time)
        differences.append(abs(expected - why["contribution"]))
        kinds[why["kind"]] += 1
    print(
        f"{len(differences)} reasons {dict(kinds)}: {max(differences):.2e} at most, "
        f"median {np.median(differences):.2e}"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
