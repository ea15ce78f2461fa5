"""Searches equal a dense computation, and a query that matches nothing has no rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from socialrec_jax.data.features.bm25 import BM25
from socialrec_jax.data.text.tokenizer import product_texts
from socialrec_jax.data.text.whitening import unit_rows
from socialrec_jax.data.world import NOW
from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.serving.recommender import Recommender
from socialrec_jax.serving.tasks import search as search_module
from socialrec_jax.serving.tasks.search import SearchIndex, SearchOptions, search
from tests.serving.shops import DELETED, engine_with_texts
from tests.worlds import with_texts

QUERIES = ["a red lamp", "shoe", "blue hat, or a red one", "42", "nothing", "帽子"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    engine = engine_with_texts(tmp_path_factory.mktemp("world"))
    texts = np.concatenate([unit_rows(engine.texts[:, :3]), engine.texts[:, 3:]], axis=1)
    return dataclasses.replace(engine, texts=texts)


def encode(texts) -> np.ndarray:
    """Unit vectors [n, 3] of texts, the same one for the same text; zeros for "nothing"."""
    rows = [np.random.default_rng([*text.encode(), 0]).normal(size=3) for text in texts]
    vectors = unit_rows(np.array(rows, np.float32).reshape(-1, 3))
    vectors[[text == "nothing" for text in texts]] = 0
    return vectors


def dense_words(engine: Engine) -> np.ndarray:
    """BM25 [queries, V] from its definition, word by word."""
    documents = [text.lower().split() for text in product_texts(engine.world.items)]
    documents[DELETED] = []
    mean_length = np.mean([len(words) for words in documents])
    scores = np.zeros((len(QUERIES), 80))
    for query, text in enumerate(QUERIES):
        for word in {"帽", "子"} if text == "帽子" else set(text.replace(",", "").split()):
            frequency = sum(word in words for words in documents)
            for item, words in enumerate(documents):
                count = words.count(word)
                discount = 1.2 * (0.25 + 0.75 * len(words) / mean_length)
                rarity = np.log(1 + (80 - frequency + 0.5) / (frequency + 0.5))
                scores[query, item] += rarity * count * 2.2 / (count + discount)
    return np.where(scores > 0, scores, -np.inf)


def dense_text(engine: Engine) -> np.ndarray:
    vectors = encode(QUERIES)
    scores = vectors @ engine.texts[:, :3].T
    scores[~vectors.any(axis=1)] = -np.inf
    scores[:, DELETED] = -np.inf
    return scores


@pytest.mark.parametrize("by", ["words", "text", "both"])
def test_search_equals_a_dense_computation(engine, by, monkeypatch):
    monkeypatch.setattr(search_module, "_MOST_QUERIES_AT_ONCE", 4)  # several chunks
    words, text = dense_words(engine), dense_text(engine)
    filled = np.where(np.isfinite(words), words, text - 1)
    dense = {"words": words, "text": text, "both": filled}[by]
    table = pa.concat_tables(
        search(SearchIndex(engine, encode), QUERIES, SearchOptions(k=9, by=by))
    )
    assert table.column_names == ["query", "rank", "item_id", "score"]
    rows = table.to_pylist()
    for query, scores in zip(QUERIES, dense, strict=True):
        found = [row for row in rows if row["query"] == query]
        best = -np.sort(-scores)[:9]
        best = best[np.isfinite(best)]
        assert [row["rank"] for row in found] == list(range(1, len(best) + 1))
        np.testing.assert_allclose([row["score"] for row in found], best, rtol=1e-4, atol=1e-5)
        items = engine.world.items.ids.lookup([row["item_id"] for row in found])
        np.testing.assert_allclose(scores[items], best, rtol=1e-4, atol=1e-5)


def test_queries_may_lie_in_a_file_and_words_need_no_encoder(engine, tmp_path):
    recommender = Recommender(engine, NOW)
    (tmp_path / "queries.txt").write_text("red lamp\n\n  帽子 \n", "utf-8")
    table = recommender.search(tmp_path / "queries.txt", k=1, by="words")
    assert table["query"].to_pylist() == ["red lamp", "帽子"]
    assert table["item_id"].to_pylist()[1] == engine.world.items.ids[7]


def test_the_texts_are_counted_once_for_all_searches(engine, monkeypatch):
    counted = []
    fit = BM25.fit
    monkeypatch.setattr(BM25, "fit", lambda texts: counted.append(texts) or fit(texts))
    recommender = Recommender(engine, NOW)
    first, second = (recommender.search(["red lamp"], k=3, by="words") for _ in range(2))
    assert first == second
    assert len(counted) == 1


def test_mistakes_of_a_search_are_named(engine, tmp_path):
    recommender = Recommender(engine, NOW)
    with pytest.raises(UsageError, match="give a list"):
        recommender.search("red lamp")
    with pytest.raises(UsageError, match=r"1\.\.80"):
        recommender.search(["red lamp"], k=0)
    with pytest.raises(InputMissing):
        recommender.search(tmp_path / "nowhere.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadData, match="UTF-8"):
        recommender.search(tmp_path / "bytes.txt")
    with pytest.raises(BadData, match="without the text encoder"):
        recommender.search(["red lamp"])
    world = with_texts(engine.world, titles=[""] * 80)
    with pytest.raises(BadData, match="no texts"):
        Recommender(dataclasses.replace(engine, world=world), NOW).search(["red lamp"])


def test_empty_texts_match_no_words():
    assert BM25.fit(["", ""]).scores(["red"]).nnz == 0
    assert BM25.fit([]).scores(["red"]).shape == (1, 0)
