"""Scores of pairs are those of recommendations; similar equals a dense computation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import pytest

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.features.item_knn import ItemKNN, ItemKNNSettings
from socialrec_jax.data.world import BEFORE_TEST, NOW
from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.recommender import Recommender
from tests.serving.shops import DELETED, engine_with_texts


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    return engine_with_texts(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module", params=["ranker", "retriever"])
def recommender(engine, request) -> Recommender:
    if request.param == "retriever":
        engine = dataclasses.replace(engine, reranker=None)
    return Recommender(engine, BEFORE_TEST)


def assert_scores_equal(scored: pa.Table, expected: pa.Table, tolerance: float) -> None:
    for name in scored.column_names:
        column, other = scored[name].to_pylist(), expected[name].to_pylist()
        if name.endswith("_id"):
            assert column == other
        else:
            np.testing.assert_allclose(column, other, rtol=tolerance, atol=tolerance)


def test_scores_are_those_of_recommendations(recommender):
    recommended = recommender.recommend(k=80)
    assert "popular" in recommended["source"].to_pylist(), "of users without history"
    # Not in an order of users, and with one pair twice.
    order = np.random.default_rng(0).permutation(len(recommended))[:1500]
    pairs = recommended.take(pa.array([*order, order[0]]))
    scored = recommender.score(pairs)
    probabilities = [f"p_{name}" for name in recommender.engine.world.event_types]
    assert scored.column_names == ["user_id", "item_id", "score", *probabilities]
    assert_scores_equal(scored, pairs, 1e-5)


def test_a_score_does_not_depend_on_the_other_pairs(recommender):
    pairs = recommender.recommend(k=40).select(["user_id", "item_id"])
    some = pairs.take(pa.array(np.arange(3, len(pairs), 97)))
    expected = recommender.score(pairs).take(pa.array(np.arange(3, len(pairs), 97)))
    assert_scores_equal(recommender.score(some), expected, 1e-6)


def test_items_of_the_history_have_probabilities_too(recommender):
    world = recommender.engine.world
    rows = np.flatnonzero(world.events.items != DELETED)[:50]
    users = [world.user_ids[user] for user in world.events.owners[rows].tolist()]
    items = [world.items.ids[item] for item in world.events.items[rows].tolist()]
    scored = recommender.score(pa.table({"user_id": users, "item_id": items}))
    probabilities = np.stack([np.asarray(scored[name]) for name in ("p_view", "p_buy")])
    assert (probabilities > 0).all()
    assert (probabilities.sum(axis=0) < (1 if recommender.engine.reranker is None else 2)).all()


def test_pairs_may_lie_in_a_file(recommender, tmp_path):
    # A synonym, and an order of columns that is not the result's.
    pairs = recommender.recommend(k=2).select(["item_id", "user_id"])
    pairs = pairs.rename_columns(["product_id", "user"]).slice(0, 9)
    expected = recommender.score(pairs)
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    pa_csv.write_csv(pairs, tmp_path / "pairs.csv")
    lines = "\n".join(str(row).replace("'", '"') for row in pairs.to_pylist())
    (tmp_path / "pairs.jsonl").write_text(lines)
    assert pa_json.read_json(str(tmp_path / "pairs.jsonl")).num_rows == 9
    for file in tmp_path.iterdir():
        assert recommender.score(file) == expected


def test_pairs_may_name_users_of_histories(engine):
    recommender = Recommender(engine, NOW)
    names = engine.world.items.ids
    bought = {"new": [3, 9, 12], "newer": [20]}
    rows = [(user, names[item]) for user, items in bought.items() for item in items]
    histories = pa.table(
        {
            "user": [user for user, _ in rows],
            "item": [item for _, item in rows],
            "timestamp": range(1_000_000, 1_000_000 + len(rows)),
        }
    )
    recommended = recommender.recommend(histories=histories, k=70)
    pairs = recommended.take(pa.array(np.random.default_rng(0).permutation(len(recommended))[:50]))
    assert_scores_equal(recommender.score(pairs, histories=histories), pairs, 1e-5)
    known = pa.table({"user_id": [engine.world.user_ids[0]], "item_id": [names[0]]})
    with pytest.raises(BadData, match="user ids are unknown"):
        recommender.score(known, histories=histories)
    with pytest.raises(UsageError, match="--histories"):
        Recommender(engine, BEFORE_TEST).score(pairs, histories=histories)


def test_no_pairs_have_no_scores(recommender):
    none = pa.table({"user_id": pa.array([], "string"), "item_id": pa.array([], "string")})
    assert recommender.score(none).num_rows == 0


def test_mistakes_of_pairs_are_named(engine, tmp_path):
    recommender = Recommender(engine, NOW)
    user, item = engine.world.user_ids[0], engine.world.items.ids[0]
    with pytest.raises(BadData, match="1 of 2 item ids are unknown to this run, first 'x'"):
        recommender.score(pa.table({"user_id": [user] * 2, "item_id": [item, "x"]}))
    with pytest.raises(BadData, match="1 of 1 user ids"):
        recommender.score(pa.table({"user_id": pa.array([None], "string"), "item_id": [item]}))
    with pytest.raises(BadData, match="no item column; found: user_id"):
        recommender.score(pa.table({"user_id": [user]}))
    with pytest.raises(UsageError, match="no data frame"):
        recommender.score(7)
    with pytest.raises(InputMissing):
        recommender.score(tmp_path / "nowhere.csv")


def dense_similarity(engine: Engine, as_of: AsOf, by: str) -> np.ndarray:
    """Similarities [V, V] of all items, -inf where an item may not be named."""
    if by == "events":
        history_ends = engine.world.history_ends(as_of)
        counted = ItemKNN.fit(engine.world.events, history_ends, 80, ItemKNNSettings())
        matrix = counted.similarity.toarray()
        matrix[matrix == 0] = -np.inf
    else:
        vectors = engine.texts if by == "text" else np.asarray(engine.catalogue)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        matrix = unit @ unit.T
    np.fill_diagonal(matrix, -np.inf)
    matrix[:, DELETED] = -np.inf
    return matrix


@pytest.mark.parametrize("by", ["vectors", "text", "events"])
def test_similar_items_equal_a_dense_computation(engine, by):
    recommender = Recommender(dataclasses.replace(engine, reranker=None), BEFORE_TEST)
    dense, names = dense_similarity(engine, BEFORE_TEST, by), engine.world.items.ids
    table = recommender.similar(k=7, by=by)
    expected_rows = [
        (names[item], rank, dense[item, other], dense[item])
        for item in range(80)
        if item != DELETED
        for rank, other in enumerate(np.argsort(-dense[item], kind="stable")[:7], 1)
        if np.isfinite(dense[item, other])
    ]
    item_ids, ranks, scores, rows = zip(*expected_rows, strict=True)
    assert table["item_id"].to_pylist() == list(item_ids)
    assert table["rank"].to_pylist() == list(ranks)
    np.testing.assert_allclose(table["score"], scores, atol=1e-5)
    # Equal scores may come in another order, so the score of the named item is compared.
    similar = names.lookup(table["similar_id"].to_pylist())
    named = [row[item] for row, item in zip(rows, similar, strict=True)]
    np.testing.assert_allclose(named, scores, atol=1e-5)
    assert DELETED not in similar


def test_similar_items_of_given_items(engine):
    recommender = Recommender(engine, NOW)
    ids = [engine.world.items.ids[number] for number in (9, 2)]
    table = recommender.similar(ids, k=3)
    assert table.column_names == ["item_id", "rank", "similar_id", "score"]
    assert table["item_id"].to_pylist()[::3] == ids
    alone = recommender.similar(ids[1:], k=3)
    assert table.slice(3)["similar_id"].to_pylist() == alone["similar_id"].to_pylist()
    assert recommender.similar(ids, by="events").num_rows > 0, "those of the ranker's features"
    with pytest.raises(BadData, match="1 of 1 item ids"):
        recommender.similar(["x"])
    with pytest.raises(UsageError, match=r"1\.\.80"):
        recommender.similar(k=81)


def test_an_item_without_text_is_similar_to_nothing_by_text(engine):
    texts = engine.texts.copy()
    texts[3] = 0
    recommender = Recommender(dataclasses.replace(engine, texts=texts), NOW)
    table = recommender.similar(k=78, by="text")
    name = engine.world.items.ids[3]
    assert name not in table["item_id"].to_pylist() + table["similar_id"].to_pylist()
    without = dataclasses.replace(engine, texts=np.zeros((80, 0), np.float32))
    with pytest.raises(BadData, match="no texts"):
        Recommender(without, NOW).similar(by="text")
