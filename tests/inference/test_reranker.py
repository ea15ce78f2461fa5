"""Candidates are new, allowed and different; lists are in order, the same one as in evaluation."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from socialrec_jax.config import Config, ModelConfig, TrainConfig
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.popularity import recent_popularity
from socialrec_jax.data.features.ranker_features import NAMES, RankerFeatures
from socialrec_jax.data.query import newcomers
from socialrec_jax.data.world import BEFORE_VALIDATION, NO_TIME, TEST, VALIDATION
from socialrec_jax.evaluation import protocol
from socialrec_jax.evaluation.evaluator import evaluate_ranker
from socialrec_jax.inference import candidates as candidates_module
from socialrec_jax.inference.candidates import POPULAR, SOURCES, CandidateRequest
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.index import TopItems
from socialrec_jax.inference.load import model_for
from socialrec_jax.inference.reranker import RankedLists
from socialrec_jax.models.ranker import Ranker
from socialrec_jax.pipeline.retriever import training_batches
from tests.worlds import events_of, random_edges, with_friends, with_texts, world_of

USERS, ITEMS = 60, 80
WITHOUT_HISTORY = np.arange(0, 60, 12)
SHORT = {"history": 6, "bought together": 5, "friends": 4, "trending": 3}
MODEL = ModelConfig(
    width=16, num_heads=2, num_layers=1, history_length=16, dropout=0.0, social_queries=0
)
CONFIG = Config(model=MODEL, train=TrainConfig(tokens_per_step=128))


def shop(folder):
    """A World with friends and texts, in which every twelfth user has done nothing yet."""
    rng = np.random.default_rng(0)
    lengths = np.where(np.isin(np.arange(USERS), WITHOUT_HISTORY), 0, rng.integers(3, 12, USERS))
    world = world_of(
        folder, events_of([rng.permutation(ITEMS)[:n].tolist() for n in lengths]), ITEMS
    )
    world = with_friends(world, random_edges(USERS, 200, int(NO_TIME)))
    titles = [f"{('red', 'blue')[i % 2]} {('lamp', 'shoe', 'hat')[i % 3]}" for i in range(ITEMS)]
    return with_texts(world, titles=titles)


def _project_and_rank(ranker: Ranker, candidates, catalogue):
    """Initialises all parameters of a ranker."""
    return ranker(candidates, ranker.project(catalogue))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return ranked_engine(tmp_path_factory.mktemp("world"))


def ranked_engine(folder, config: Config = CONFIG) -> Engine:
    """An engine with random parameters of retriever and ranker."""
    world = shop(folder)
    texts = np.random.default_rng(1).normal(size=(ITEMS, 4)).astype(np.float32)
    model = model_for(config, world, 4)
    batch = training_batches(world, config, world.history_ends(BEFORE_VALIDATION)).at(0)

    rng = np.random.default_rng(2)

    def moved(params):
        return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)

    params = moved(jax.jit(model.init)(jax.random.key(0), batch)["params"])
    engine = Engine.create(world, config, model, params, texts=texts)
    generator = engine.candidate_generator(
        RankerFeatures.fit(world, world.history_ends(BEFORE_VALIDATION), ItemKNNSettings())
    )
    candidates = generate(engine, generator)[0].candidates
    ranker, catalogue = Ranker(2, interactions=2), np.asarray(engine.catalogue)
    fresh = jax.jit(
        lambda key: ranker.init(key, candidates, catalogue, method=_project_and_rank)["params"]
    )(jax.random.key(0))
    features = candidates.features[candidates.exists]
    statistics = {"center": features.mean(0), "scale": features.std(0) + 1e-3}
    return engine.with_ranker(generator.features, moved(fresh) | {"standardise": statistics})


def query_parts(engine: Engine, part: int = VALIDATION):
    """(states, query, seen items) of all users just before a part."""
    query = engine.query(np.arange(USERS), AsOf.before(part))
    seen = query.events.histories(query.users, query.history_ends)
    return engine.states(query), query, seen


def request_of(engine: Engine, part: int = VALIDATION, **options) -> CandidateRequest:
    inputs = engine.index_inputs(AsOf.before(part))
    return CandidateRequest(inputs, *query_parts(engine, part), **options)


def generate(engine: Engine, generator=None, **options):
    generator = generator or engine.reranker.generator
    return list(generator.generate(request_of(engine, **options)))


def joined(parts) -> tuple[np.ndarray, ...]:
    """(items, exists, features, sources) of all users."""
    leaves = [
        (*(getattr(p.candidates, n) for n in ("items", "exists", "features")), p.sources)
        for p in parts
    ]
    return tuple(np.concatenate(column) for column in zip(*leaves, strict=True))


def lists(engine: Engine, part: int = VALIDATION, **options) -> RankedLists:
    parts = list(engine.reranker.lists(request_of(engine, part, **options)))
    return RankedLists(
        *(np.concatenate(c) for c in zip(*(dataclasses.astuple(p) for p in parts), strict=True))
    )


@pytest.mark.parametrize("k", [0, 20, ITEMS])
@pytest.mark.parametrize("some", [False, True], ids=["all", "allowed"])
def test_candidates_are_new_allowed_different_and_enough(served, monkeypatch, k, some):
    monkeypatch.setattr(candidates_module, "PER_LIST", SHORT)
    allowed = np.arange(ITEMS) % 3 == 0
    items, exists, _, _ = joined(generate(served, k=k, allowed=allowed if some else None))
    seen = query_parts(served)[2]
    for user in range(USERS):
        own = items[user, exists[user]].tolist()
        had = set(seen.items[seen.offsets[user] : seen.offsets[user + 1]].tolist())
        possible = {i for i in range(ITEMS) if i not in had and (allowed[i] or not some)}
        assert len(set(own)) == len(own)
        assert set(own) <= possible
        assert len(own) >= min(max(k, SHORT["history"]), len(possible))


def test_a_source_is_the_first_list_that_has_the_item(served, monkeypatch):
    monkeypatch.setattr(candidates_module, "PER_LIST", SHORT)
    states, query, seen = query_parts(served)
    items, exists, _, sources = joined(generate(served))
    generator = served.reranker.generator
    index_parts = generator.index.top(
        served.index_inputs(BEFORE_VALIDATION), states, seen, SHORT["history"]
    )
    proposals = {"history": np.concatenate([part[0] for part in index_parts])}
    proposals |= generator.features.proposals(generator.features.look_up(query), SHORT)
    for user in range(USERS):
        had = set(seen.items[seen.offsets[user] : seen.offsets[user + 1]].tolist())
        expected = {}
        for name, found in proposals.items():
            for item in set(found[user].tolist()) - had - {-1}:
                expected.setdefault(
                    item,
                    POPULAR
                    if user in WITHOUT_HISTORY and name == "history"
                    else SOURCES.index(name),
                )
        on = exists[user]
        assert (
            dict(zip(items[user, on].tolist(), sources[user, on].tolist(), strict=True)) == expected
        )
    assert {SOURCES[s] for s in np.unique(sources[exists])} == {*SHORT, "popular"}, (
        "every list names something first"
    )


def test_retrieval_and_text_are_those_of_the_vectors(served):
    states, query, seen = query_parts(served)
    items, exists, features, _ = joined(generate(served))
    scores = states @ np.asarray(served.catalogue).T / CONFIG.model.temperature
    unknown = ~states.any(1)
    scores[unknown] = recent_popularity(served.world.events, query.history_ends, ITEMS)
    for user in range(USERS):
        scores[user, seen.items[seen.offsets[user] : seen.offsets[user + 1]]] = -np.inf
    log_probabilities = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    found = features[..., NAMES.index("retriever log-probability")]
    on = exists & ~unknown[:, None]
    np.testing.assert_allclose(
        found[on], np.take_along_axis(log_probabilities, items, 1)[on], rtol=1e-3, atol=1e-3
    )
    history = served.reranker.generator.features.look_up(query).history.toarray()
    text = np.take_along_axis(history @ served.texts @ served.texts.T, items, 1)
    np.testing.assert_allclose(features[..., -1][exists], text[exists], rtol=1e-3, atol=1e-3)


def test_lists_are_sorted_and_what_does_not_exist_comes_last(served, monkeypatch):
    monkeypatch.setattr(candidates_module, "PER_LIST", SHORT)
    found, (items, exists, _, sources) = lists(served), joined(generate(served))
    assert (np.isfinite(found.scores).sum(1) == exists.sum(1)).all()
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
    assert (np.isneginf(found.scores).sum(1) > 0).any()
    assert ((found.probabilities >= 0) & (found.probabilities <= 1)).all()
    for user in np.setdiff1d(np.arange(USERS), WITHOUT_HISTORY):
        on = np.isfinite(found.scores[user])
        ranked = dict(
            zip(found.items[user, on].tolist(), found.sources[user, on].tolist(), strict=True)
        )
        generated = zip(
            items[user, exists[user]].tolist(), sources[user, exists[user]].tolist(), strict=True
        )
        assert ranked == dict(generated)


def test_users_without_history_get_popular_items(served):
    items, exists, _, sources = joined(generate(served))
    popularity = recent_popularity(
        served.world.events, served.world.history_ends(BEFORE_VALIDATION), ITEMS
    )
    for user in WITHOUT_HISTORY:
        np.testing.assert_allclose(
            popularity[items[user, :30]], np.sort(popularity)[::-1][:30], rtol=1e-6
        )
        assert (sources[user, :30] == POPULAR).all()
    known = np.setdiff1d(np.arange(USERS), WITHOUT_HISTORY)
    assert (sources[known][exists[known]] != POPULAR).all()


def test_chunks_and_other_queries_change_nothing(served, monkeypatch):
    whole = lists(served)
    monkeypatch.setattr(candidates_module, "_QUERIES_AT_ONCE", 7)
    for a, b in zip(dataclasses.astuple(whole), dataclasses.astuple(lists(served)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes", [(3, 3, 3, 1), (10,), (1,) * 10, (4, 0, 6)])
def test_results_of_the_search_are_joined_and_cut_to_one_size(sizes):
    rng = np.random.default_rng(0)
    whole = TopItems(rng.integers(0, 9, (10, 4)), rng.random((10, 4)), rng.random(10))
    ends = np.cumsum(sizes).tolist()
    parts = [
        TopItems(*(column[end - size : end] for column in whole))
        for size, end in zip(sizes, ends, strict=True)
    ]
    chunks = list(candidates_module._in_chunks(iter(parts), 4))
    assert [len(chunk.items) for chunk in chunks] == [4, 4, 2]
    for column, expected in zip(zip(*chunks, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(column), expected)


def test_long_lists_come_in_smaller_chunks(monkeypatch):
    monkeypatch.setattr(candidates_module, "_QUERIES_AT_ONCE", 512)
    assert candidates_module.chunk_size(220) == 512
    assert candidates_module.chunk_size(1 << 18) == 4
    assert candidates_module.chunk_size(1 << 30) == 1


@pytest.mark.parametrize("part", [VALIDATION, TEST])
def test_recommendations_are_in_the_evaluated_order(served, part):
    queries = protocol.held_out(served.world, part)
    ranks = evaluate_ranker(served, queries)[0].ranks
    (served_lists,) = served.recommend(served.query(queries.users, AsOf.before(part)), k=10)
    for items, target, rank in zip(served_lists.items, queries.targets.items, ranks, strict=True):
        places = np.flatnonzero(items == target)
        assert places.tolist() == ([rank - 1] if rank <= 10 else [])
    assert (ranks <= 10).any()


def test_repeats_are_an_option(served):
    users = np.setdiff1d(np.arange(USERS), WITHOUT_HISTORY)
    (found,) = served.recommend(served.query(users), k=ITEMS, repeats=True)
    assert (np.sort(found.items, axis=1) == np.arange(ITEMS)).all()


def test_unknown_users_are_ranked_by_their_own_history_without_friends(served):
    cold_start = events_of([[1, 2, 3], [], [4]])
    (found,) = served.recommend(newcomers(cold_start, np.arange(3)), k=10)
    assert not set(found.items[0]) & {1, 2, 3}
    assert SOURCES.index("friends") not in found.sources
    np.testing.assert_array_equal((found.sources == POPULAR).all(1), [False, True, False])
    (again,) = served.recommend(newcomers(cold_start, np.array([2])), k=10)
    np.testing.assert_array_equal(again.items[0], found.items[2])
