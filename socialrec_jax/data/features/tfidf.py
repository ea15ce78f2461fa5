"""Tf-idf of product texts: tags, categories and the words of titles, matched exactly.

Embeddings say which products are similar in general. A rare word or a brand that two products share
says more about these two.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.sparse_rows import entries_of, num_columns, positions, values_at
from socialrec_jax.data.world import Items

_MAX_TERMS_PER_ITEM = 32  # the rarest ones: long descriptions add little
_MAX_VOCABULARY = 100_000  # the most frequent terms of a catalogue

# Scripts without spaces between words go by character.
_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+")


def word_matrix(items: Items) -> sparse.csr_array:
    """Tf-idf [V, W] of the words of titles and descriptions; see `tfidf_matrix`."""
    titles = items.titles.tolist()
    descriptions = items.descriptions.tolist()
    pairs = zip(titles, descriptions, strict=True)
    return tfidf_matrix(words_of(f"{title} {description}") for title, description in pairs)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in their order."""
    return _WORD.findall(text.lower())


def label_matrix(items: Items) -> sparse.csr_array:
    """Tf-idf [V, W] of tags and categories; see `tfidf_matrix`."""
    tag_lists = items.tags.tolist()
    categories = items.categories.tolist()
    return tfidf_matrix(map(_labels, tag_lists, categories))


def _labels(tag_list: str, category: str) -> list[str]:
    """The tags and the category of one product; a tag and a category of one name are different.

    In one order: that of a set of strings differs from process to process.
    """
    labels = set(tag_list.split("|"))
    if category:
        labels.add(f"category {category}")
    return sorted(labels - {""})


def tfidf_matrix(documents: Iterable[Iterable[str]]) -> sparse.csr_array:
    """Rows [V, W] float32 of length 1 with weight log(V / df) for each term of a document.

    How often a document repeats a term does not count. Terms that only one document has are left
    out: they cannot match anything. Documents are read one after another, and not kept.
    """
    lengths, columns, vocabulary_size = _numbered_terms(documents)
    num_documents = len(lengths)
    rows = np.repeat(np.arange(num_documents), lengths)
    document_frequency = np.bincount(columns, minlength=vocabulary_size)
    new_columns, num_columns = _select_vocabulary(document_frequency)

    selected = new_columns[columns] >= 0
    rows = rows[selected]
    columns = columns[selected]
    inverse_frequency = num_documents / document_frequency[columns]
    weights = np.log(inverse_frequency).astype(np.float32)

    rows, columns, weights = _rarest_terms(rows, columns, weights)
    shape = (num_documents, num_columns)
    entries = (weights, (rows, new_columns[columns]))
    return _normalised_rows(sparse.csr_array(entries, shape, dtype=np.float32))


def _numbered_terms(documents: Iterable[Iterable[str]]) -> tuple[np.ndarray, np.ndarray, int]:
    """(terms of each document [V], their numbers [N], number of terms): each term once a
    document.
    """
    vocabulary: dict[str, int] = {}
    lengths: list[int] = []

    def numbers() -> Iterator[int]:
        for terms in documents:
            distinct = {vocabulary.setdefault(term, len(vocabulary)) for term in terms}
            lengths.append(len(distinct))
            yield from distinct

    columns = np.fromiter(numbers(), np.int64)
    return np.array(lengths, np.int64), columns, len(vocabulary)


def _select_vocabulary(document_frequency: np.ndarray) -> tuple[np.ndarray, int]:
    """(new column of each term or -1, number of columns).

    Terms of at least two documents stay, the most frequent ones if there are too many.
    """
    shared = np.flatnonzero(document_frequency > 1)
    most_frequent_first = np.argsort(-document_frequency[shared], kind="stable")
    selected = shared[most_frequent_first[:_MAX_VOCABULARY]]
    selected.sort()

    new_columns = np.full(len(document_frequency), -1)
    new_columns[selected] = np.arange(len(selected))
    return new_columns, len(selected)


def _rarest_terms(
    rows: np.ndarray, columns: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The _MAX_TERMS_PER_ITEM entries with the largest weights of each row; rows are sorted."""
    by_row_then_weight = np.lexsort((-weights, rows))
    # The rows are sorted, so the order within a row is the only one that changes.
    first_of_row = np.searchsorted(rows, rows)
    position_in_row = np.arange(len(rows)) - first_of_row

    selected = by_row_then_weight[position_in_row < _MAX_TERMS_PER_ITEM]
    selected.sort()
    return rows[selected], columns[selected], weights[selected]


def _normalised_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """Rows of length 1; rows of zeros stay."""
    squares = np.asarray(matrix.power(2).sum(axis=1))
    lengths = np.sqrt(squares.reshape(-1))
    inverse = 1 / np.maximum(lengths, 1e-6)
    scale = sparse.diags_array(inverse, dtype=np.float32)
    return sparse.csr_array(scale @ matrix)


def similarities(
    profiles: Sequence[sparse.csr_array], terms: sparse.csr_array, candidates: np.ndarray
) -> list[np.ndarray]:
    """Similarity [q, C] float32 of each profile of q users with their candidates [q, C].

    profiles, each [q, V]: weights of the items in a user's history. The first one has all items of
    the others. terms [V, W]: tf-idf of the items. Similarity counts the terms that profile and
    candidate share.
    """
    weights = [sparse.csr_array(profile @ terms) for profile in profiles]
    of_candidates = sparse.csr_array(terms[candidates.reshape(-1)])
    shared = _SharedTerms.of(of_candidates, weights[0], candidates.shape)
    sums = [shared.products(weights[0].data)]
    for others in weights[1:]:
        sums.append(shared.products(_values_of_entries(others, weights[0])))
    return [products.reshape(candidates.shape) for products in sums]


@dataclasses.dataclass(frozen=True)
class _SharedTerms:
    """The terms of candidates that are terms of their query's profile, too.

    Few of the candidates' terms are, so that products are computed for these alone.
    """

    num_candidates: int  # of all queries
    candidates: np.ndarray  # [n] of each shared term, ascending
    tfidf: np.ndarray  # [n] of the term in the candidate
    entries: np.ndarray  # [n] where the term lies in the profiles' data

    @classmethod
    def of(
        cls, of_candidates: sparse.csr_array, weights: sparse.csr_array, shape: tuple[int, ...]
    ) -> _SharedTerms:
        """of_candidates [q C, W], weights [q, W]: the terms of candidates [q, C] and profiles."""
        num_queries, per_query = shape
        bounds = of_candidates.indptr
        # The terms of all candidates of a query, one candidate after another.
        first_candidates = np.arange(num_queries + 1) * per_query
        pairs = Pairs(bounds[first_candidates], of_candidates.indices)
        at = positions(pairs, entries_of(weights), num_columns(weights))
        shared = np.flatnonzero(at >= 0)
        num_candidates = num_queries * per_query
        candidate_of_term = np.repeat(np.arange(num_candidates), np.diff(bounds))
        return cls(
            num_candidates=num_candidates,
            candidates=candidate_of_term[shared],
            tfidf=of_candidates.data[shared],
            entries=at[shared],
        )

    def products(self, weights: np.ndarray) -> np.ndarray:
        """Inner products [q C] float32 of candidates with the weights of the profiles' entries."""
        products = self.tfidf * weights[self.entries]
        sums = np.bincount(self.candidates, products, self.num_candidates)
        return sums.astype(np.float32)


def _values_of_entries(matrix: sparse.csr_array, of: sparse.csr_array) -> np.ndarray:
    """The values [n] of a matrix at the entries of another one; 0 where it has none."""
    at = positions(entries_of(of), entries_of(matrix), num_columns(matrix))
    return values_at(matrix.data, at)
