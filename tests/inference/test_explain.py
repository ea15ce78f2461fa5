"""Reasons are true, and what they count is what the score loses without them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.shared_terms import SharedTerms
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.explain import FRIENDS, KINDS, POPULARITY, TEXT, Explainer
from socialrec_jax.inference.leave_out import LeaveOut
from tests.inference.leave_out_slowly import lowered_by
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


def test_an_input_left_out_lowers_the_score_by_its_contribution(engine, everybody):
    query, pairs, reasons = everybody
    recent = reasons.evidence.recent
    contributions = LeaveOut(engine).contributions(query, pairs, recent)
    time = int(query.query_times[0])
    known = np.flatnonzero(~np.isin(pairs.owners, WITHOUT_HISTORY))
    rng = np.random.default_rng(0)
    for number, kind in enumerate(KINDS):
        for pair in rng.choice(known, 4, replace=False):
            user, item = int(pairs.owners[pair]), int(pairs.items[pair])
            column = int(rng.integers((recent[user] >= 0).sum()))
            named = int(recent[user][recent[user] >= 0][column])
            if number:
                column = recent.shape[1] + number - 1
            expected = lowered_by(engine, user, item, kind, named, time)
            assert contributions[pair, column] == pytest.approx(expected, abs=1e-5), kind
    # The named reasons are those of the inputs.
    in_history = reasons.kinds == 0
    owners = reasons.owners[in_history]
    columns = (recent[pairs.owners[owners]] == reasons.items[in_history][:, None]).argmax(axis=1)
    found = reasons.contributions[in_history]
    np.testing.assert_array_equal(found, contributions[owners, columns])


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
    def of_user(users: list[int], user: int) -> list[np.ndarray]:
        query, pairs, reasons = explained(engine, np.array(users), exact)
        chosen = query.users[pairs.owners[reasons.owners]] == user
        items = pairs.items[reasons.owners[chosen]]
        return [items, reasons.kinds[chosen], reasons.items[chosen], reasons.contributions[chosen]]

    alone = of_user([25], 25)
    for users in ([7, 1, 25, 0, 13], [0, 25, 7]):
        *names, contributions = of_user(users, 25)
        for column, expected in zip(names, alone, strict=False):
            np.testing.assert_array_equal(column, expected)
        # States of so narrow a model differ in the last bit by how rows are packed.
        np.testing.assert_allclose(contributions, alone[-1], atol=1e-5)


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
