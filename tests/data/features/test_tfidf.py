"""The tf-idf matrix equals a dense definition; shared words are found in any script."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sparse

from socialrec_jax.data.features import tfidf
from tests.worlds import with_texts

LETTERS = "abcdefghij"


def dense_tfidf(documents: list[str], most: int) -> np.ndarray:
    """The definition, with terms in another order: compare inner products of rows only."""
    frequency = Counter(name for document in documents for name in set(document))
    terms = sorted(name for name, count in frequency.items() if count > 1)
    rows = np.zeros((len(documents), len(terms)))
    for row, document in zip(rows, documents, strict=True):
        kept = sorted({n for n in document if frequency[n] > 1}, key=lambda n: frequency[n])[:most]
        row[[terms.index(n) for n in kept]] = [
            math.log(len(documents) / frequency[n]) for n in kept
        ]
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def random_documents(n: int = 40) -> list[str]:
    rng, weight = np.random.default_rng(0), np.linspace(1, 5, 10)
    return [
        "".join(rng.choice(list(LETTERS), rng.integers(0, 9), p=weight / weight.sum()))
        for _ in range(n)
    ]


def test_terms_equal_the_dense_definition():
    documents = [document + str(i) for i, document in enumerate(random_documents())]
    found, expected = (
        tfidf.tfidf_matrix(documents).toarray(),
        dense_tfidf(documents, tfidf._MAX_TERMS_PER_ITEM),
    )
    assert found.shape == expected.shape
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-6)
    np.testing.assert_allclose(np.sort(found.sum(0)), np.sort(expected.sum(0)), rtol=1e-5)


def test_terms_of_a_single_product_are_left_out():
    assert tfidf.tfidf_matrix(["ab", "cd", "ef"]).shape == (3, 0)
    assert tfidf.tfidf_matrix(["aab", "ac", "d"]).shape == (3, 1), (
        "twice in one product is one product"
    )


def test_only_the_rarest_terms_of_a_product_stay(monkeypatch):
    monkeypatch.setattr(tfidf, "_MAX_TERMS_PER_ITEM", 2)
    documents = [
        "abcd",
        "abc",
        "ab",
        "a",
        "a",
        "dc",
        "d",
        "b",
        "",
    ]  # frequencies: a 5, b 4, c 3, d 3
    found = tfidf.tfidf_matrix(documents).toarray()
    assert (np.count_nonzero(found, axis=1) <= 2).all()
    np.testing.assert_allclose(found @ found.T, (d := dense_tfidf(documents, 2)) @ d.T, atol=1e-6)


def test_a_vocabulary_that_is_too_large_keeps_its_most_frequent_terms(monkeypatch):
    monkeypatch.setattr(tfidf, "_MAX_VOCABULARY", 2)
    found = tfidf.tfidf_matrix(["abc", "abc", "ab", "a", ""])
    np.testing.assert_allclose((found.toarray() > 0).sum(0), [4, 3])


def test_similarity_is_the_dense_product():
    rng = np.random.default_rng(1)
    terms = tfidf.tfidf_matrix(random_documents())
    profiles = sparse.csr_array(
        np.where(rng.random((9, 40)) < 0.1, rng.random((9, 40)), 0).astype(np.float32)
    )
    candidates = rng.integers(0, 40, (9, 7))
    dense = (profiles @ terms @ terms.T).toarray()
    (found,) = tfidf.similarities([profiles], terms, candidates)
    np.testing.assert_allclose(
        found, np.take_along_axis(dense, candidates, 1), rtol=1e-5, atol=1e-6
    )
    assert found.dtype == np.float32


def items_of(world, titles: list[str], **columns):
    """Items with these titles and then blank ones."""
    rest = [""] * (world.num_items - len(titles))
    return with_texts(
        world, titles=titles + rest, **{name: c + rest for name, c in columns.items()}
    ).items


@pytest.mark.parametrize(
    ("titles", "shared"),
    [
        (["红色连衣裙", "绿裙子", "蓝牙耳机"], [(0, 1)]),
        (["赤いドレス", "青いドレス", "くつ"], [(0, 1)]),
        (["فستان أحمر", "فستان أزرق", "حذاء"], [(0, 1)]),
        (["Красное ПЛАТЬЕ", "синее платье", "туфли"], [(0, 1)]),
        (["Red-Dress!", "blue dress", "shoe_dress", "red"], [(0, 1), (0, 2), (0, 3), (1, 2)]),
        (["iPhone保护壳", "手机壳", "IPHONE"], [(0, 1), (0, 2)]),
    ],
)
def test_products_share_words_or_characters_in_any_script(world, titles, shared):
    found = tfidf.word_matrix(items_of(world, titles)).toarray()
    similar = found @ found.T
    pairs = {(a, b) for a in range(world.num_items) for b in range(a) if similar[a, b] > 1e-6}
    assert pairs == {(b, a) for a, b in shared}


@pytest.mark.parametrize(
    "titles", [[], ["", "", ""], ["🎁🎉", "🎁", "❤️🎁", "!!!", "___", "\u200d\x00"]]
)
def test_titles_without_words_are_harmless(world, titles):
    words = tfidf.word_matrix(items_of(world, titles))
    profiles = sparse.csr_array(np.ones((2, world.num_items), np.float32))
    assert words.shape[0] == world.num_items
    (found,) = tfidf.similarities([profiles], words, np.array([[0, 1, 2], [3, 3, 3]]))
    assert (found == 0).all()


def test_descriptions_count_as_titles_do(world):
    one = tfidf.word_matrix(
        items_of(world, ["red dress", "dress"], descriptions=["", "of red silk"])
    ).toarray()
    assert one[0] @ one[1] == pytest.approx(1), "the other words occur in one product only"


def test_labels_are_whole_tags_and_categories(world):
    labels = tfidf.label_matrix(
        items_of(
            world,
            ["x"] * 5,
            tags=["red|old", "old", "||", "red old", "toys"],
            categories=["", "", "toys", "toys", ""],
        )
    ).toarray()
    similar = labels @ labels.T > 1e-6
    np.testing.assert_array_equal(np.argwhere(np.triu(similar, 1)), [[0, 1], [2, 3]])
    assert not tfidf.label_matrix(world.items).nnz
