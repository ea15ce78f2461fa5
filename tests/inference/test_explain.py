"""Reasons are true, and what they count is what the score loses without them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.shared_terms import SharedTerms
from socialrec_jax.data.query import friend_sampler_of
from socialrec_jax.data.world import World
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.explain import FRIENDS, KINDS, POPULARITY, TEXT, Explainer, Reasons
from socialrec_jax.inference.leave_out import LeaveOut
from socialrec_jax.inference.pair_scores import Retrieval, score_pairs
from tests.inference.test_reranker import CONFIG, ITEMS, USERS, WITHOUT_HISTORY, ranked_engine
from tests.worlds import with_texts

K = 6


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    """A ranker, and a retriever that reads friends; every ninth item has a word in common."""
    model = dataclasses.replace(CONFIG.model, social_queries=2)
    config = dataclasses.replace(CONFIG, model=model)
    engine = ranked_engine(tmp_path_factory.mktemp("world"), config)
    titles = [f"{t} number{n % 9}" for n, t in enumerate(engine.world.items.titles.tolist())]
    return dataclasses.replace(engine, world=with_texts(engine.world, titles=titles))


def explained(engine: Engine, users: np.ndarray, exact: bool = True, min_friends: int = 1):
    """(query, recommended pairs, their reasons)."""
    query = engine.query(users)
    (part,) = engine.recommend(query, k=K)
    pairs = Pairs(np.arange(len(users) + 1) * K, part.items.reshape(-1))
    explainer = Explainer.of(engine, query, exact, min_friends)
    return query, pairs, explainer.reasons(query, pairs, LeaveOut(engine))


@pytest.fixture(scope="module")
def everybody(engine):
    return explained(engine, np.arange(USERS))


def score_of(engine: Engine, user: int, item: int, query_time: int, popular: Engine) -> float:
    """The score of one pair, by the engine alone."""
    query = engine.query(np.array([user]))
    query = dataclasses.replace(query, query_times=np.array([query_time]))
    pairs = Pairs(np.array([0, 1]), np.array([item], np.int32))
    retrieval = Retrieval.of(engine, query)
    retrieval = dataclasses.replace(retrieval, popularity=popular.popularity())
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
    other = {
        "history": lambda: without_history_item(engine, user, named),
        "friends": lambda: without_friends(engine, user),
        "text": lambda: without_text(engine, item),
        "popularity": lambda: without_popularity(engine, item),
    }[kind]()
    popular = engine
    return score_of(engine, user, item, time, popular) - score_of(other, user, item, time, popular)


def test_an_input_left_out_lowers_the_score_by_its_contribution(engine, everybody):
    query, pairs, reasons = everybody
    known = ~np.isin(pairs.owners[reasons.owners], WITHOUT_HISTORY)
    rng = np.random.default_rng(0)
    for number, kind in enumerate(KINDS):
        of_kind = np.flatnonzero((reasons.kinds == number) & known)
        for row in rng.choice(of_kind, min(4, len(of_kind)), replace=False):
            owner = reasons.owners[row]
            user = int(query.users[pairs.owners[owner]])
            item, named = int(pairs.items[owner]), int(reasons.items[row])
            expected = lowered_by(engine, user, item, kind, named, int(query.query_times[0]))
            assert reasons.contributions[row] == pytest.approx(expected, abs=1e-5), kind
        assert len(of_kind), kind


def test_reasons_are_true(engine, everybody):
    _, pairs, reasons = everybody
    world, evidence = engine.world, reasons.evidence
    popularity = engine.reranker.generator.features.recent_popularity
    explainer_terms = SharedTerms.of(world.items).names
    friends_of = np.split(world.friends.ids, world.friends.offsets[1:-1])
    had = [set(history) for history in np.split(world.events.items, world.events.offsets[1:-1])]
    for row, owner in enumerate(reasons.owners):
        user, item = int(pairs.owners[owner]), int(pairs.items[owner])
        kind = reasons.kinds[row]
        if kind == 0:
            assert int(reasons.items[row]) in had[user]
        if kind == FRIENDS:
            named = evidence.friends.of(np.array([owner])).items
            expected = {int(friend) for friend in friends_of[user] if item in had[friend]}
            assert set(named.tolist()) == expected
            assert len(named) == len(expected)
        if kind == TEXT:
            titles = world.items.titles.tolist()
            terms = explainer_terms[evidence.terms.of(np.array([owner])).items]
            recent = " ".join(titles[other] for other in had[user])
            assert len(terms)
            assert all(term in recent and term in titles[item] for term in terms)
        if kind == POPULARITY:
            assert evidence.places[owner] == 1 + (popularity > popularity[item]).sum()
            assert evidence.places[owner] <= ITEMS // 10
    assert set(reasons.kinds) == set(range(len(KINDS)))


def test_the_largest_contributions_come_first(everybody):
    _, _, reasons = everybody
    same = reasons.owners[1:] == reasons.owners[:-1]
    assert (np.diff(reasons.contributions)[same] <= 0).all()
    assert (reasons.contributions > 0).all()
    assert np.bincount(reasons.owners).max() == 3


@pytest.mark.parametrize("exact", [False, True])
def test_reasons_do_not_depend_on_other_users(engine, exact):
    def rows(users: list[int]) -> dict[int, list]:
        query, pairs, reasons = explained(engine, np.array(users), exact)
        owners = query.users[pairs.owners[reasons.owners]]
        return {user: _rows_of(reasons, pairs, owners == user) for user in users}

    together, alone = rows([7, 1, 25, 0, 13]), rows([25])
    assert rows([0, 25, 7, 13, 1]) == together
    assert alone[25] == together[25]


def _rows_of(reasons: Reasons, pairs: Pairs, chosen: np.ndarray) -> list:
    columns = (
        pairs.items[reasons.owners[chosen]],
        reasons.kinds[chosen],
        reasons.items[chosen],
        reasons.contributions[chosen].view(np.int32),
    )
    return [column.tolist() for column in columns]


def test_fast_reasons_name_the_most_similar_item_and_measure_nothing(engine):
    _, pairs, reasons = explained(engine, np.arange(USERS), exact=False)
    assert np.isnan(reasons.contributions).all()
    vectors = np.asarray(engine.catalogue)
    in_history = np.flatnonzero(reasons.kinds == 0)
    assert len(np.unique(reasons.owners[in_history])) == len(in_history)
    for row in in_history[::7]:
        owner = reasons.owners[row]
        recent = reasons.evidence.recent[pairs.owners[owner]]
        similarity = vectors[recent[recent >= 0]] @ vectors[pairs.items[owner]]
        assert reasons.items[row] == recent[recent >= 0][similarity.argmax()]


def test_few_friends_are_no_reason(engine):
    _, _, reasons = explained(engine, np.arange(USERS), exact=False, min_friends=2)
    counts = np.diff(reasons.evidence.friends.of(reasons.owners).offsets)
    assert (counts[reasons.kinds == FRIENDS] >= 2).all()
    _, _, everything = explained(engine, np.arange(USERS), exact=False)
    assert (everything.kinds == FRIENDS).sum() > (reasons.kinds == FRIENDS).sum()
