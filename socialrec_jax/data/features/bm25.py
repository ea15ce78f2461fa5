"""BM25: how well the words of a text match a query, by exact words.

Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.features.sparse_rows import num_columns
from socialrec_jax.data.features.tfidf import words_of

# The usual values: how soon repeated words stop counting, and how much long texts are discounted.
_SATURATION = 1.2
_LENGTH_NORMALISATION = 0.75


@dataclasses.dataclass(frozen=True)
class BM25:
    """The words of V texts with their weights."""

    vocabulary: dict[str, int]
    weights: sparse.csr_array  # [W, V] float32

    @classmethod
    def fit(cls, texts: Sequence[str]) -> BM25:
        """Count the words of texts [V]; an empty text matches nothing."""
        documents = list(map(words_of, texts))
        vocabulary: dict[str, int] = {}
        for words in documents:
            for word in words:
                vocabulary.setdefault(word, len(vocabulary))
        counts = _word_counts(documents, vocabulary)
        return cls(vocabulary, sparse.csr_array(_weighted(counts).T))

    def scores(self, queries: Sequence[str]) -> sparse.csr_array:
        """Scores [q, V] of queries; no entry is a score of 0. A repeated word counts once."""
        known_words = [self.vocabulary.keys() & set(words_of(query)) for query in queries]
        words = _word_counts(known_words, self.vocabulary)
        return sparse.csr_array(words @ self.weights)


def _word_counts(
    documents: Sequence[Sequence[str] | set[str]], vocabulary: dict[str, int]
) -> sparse.csr_array:
    """How often each document has each word [documents, W] float32."""
    lengths = [len(words) for words in documents]
    columns = [vocabulary[word] for words in documents for word in sorted(words)]
    rows = np.repeat(np.arange(len(documents)), lengths)
    entries = (np.ones(len(rows), np.float32), (rows, np.array(columns, np.int64)))
    # Repeated words are added up.
    return sparse.csr_array(entries, (len(documents), len(vocabulary)), dtype=np.float32)


def _weighted(counts: sparse.csr_array) -> sparse.csr_array:
    """The weights [V, W] of word counts [V, W]."""
    num_texts = len(counts.indptr) - 1
    document_frequency = np.bincount(counts.indices, minlength=num_columns(counts))
    rarity = np.log1p((num_texts - document_frequency + 0.5) / (document_frequency + 0.5))

    lengths = np.asarray(counts.sum(axis=1)).reshape(-1)
    relative_length = lengths / max(lengths.mean(), 1e-6) if num_texts else lengths
    discount = 1 - _LENGTH_NORMALISATION + _LENGTH_NORMALISATION * relative_length
    of_entry = np.repeat(discount, np.diff(counts.indptr))
    saturated = counts.data * (_SATURATION + 1) / (counts.data + _SATURATION * of_entry)

    weights = (rarity[counts.indices] * saturated).astype(np.float32)
    return sparse.csr_array((weights, counts.indices, counts.indptr), counts.shape)
