"""What products are, word for word: tags, categories and the words of titles, matched exactly.

Embeddings tell what is alike in general; a shared rare word or brand says more about these two
products.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.world import Items

_MOST_TERMS = 32  # of one product, the rarest: long descriptions say little more
_MOST_NAMES = 100_000  # of a catalogue, the most frequent

# Scripts without spaces between words go by character.
_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+")


def words(items: Items) -> sparse.csr_array:
    """Terms [V, W] of titles and descriptions; see `terms`."""
    titles, descriptions = items.titles.tolist(), items.descriptions.tolist()
    return terms(
        [_WORD.findall(f"{t} {d}".lower()) for t, d in zip(titles, descriptions, strict=True)]
    )


def labels(items: Items) -> sparse.csr_array:
    """Terms [V, W] of tags and categories; see `terms`."""
    tags, categories = items.tags.tolist(), items.categories.tolist()
    return terms(
        [
            {*t.split("|"), f"category {c}" if c else ""} - {""}
            for t, c in zip(tags, categories, strict=True)
        ]
    )


def terms(bags: Sequence[Iterable[str]]) -> sparse.csr_array:
    """Unit rows [V, W] float32 of inverse document frequencies log(V / df); names of one product
    only are left out.
    """
    numbers: dict[str, int] = {}
    sets = [{numbers.setdefault(name, len(numbers)) for name in bag} for bag in bags]
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    columns = np.fromiter((number for s in sets for number in s), np.int64)
    frequency = np.bincount(columns, minlength=len(numbers))
    kept = _names_to_keep(frequency)
    new = np.full(len(numbers), -1)
    new[kept] = np.arange(len(kept))
    known = new[columns] >= 0
    rows, columns = rows[known], columns[known]
    values = np.log(len(sets) / frequency[columns]).astype(np.float32)
    rows, columns, values = _rarest(rows, columns, values)
    matrix = sparse.csr_array(
        (values, (rows, new[columns])), (len(sets), len(kept)), dtype=np.float32
    )
    lengths = np.sqrt(np.asarray(matrix.power(2).sum(axis=1)).reshape(-1))
    return sparse.csr_array(
        sparse.diags_array(1 / np.maximum(lengths, 1e-6), dtype=np.float32) @ matrix
    )


def _names_to_keep(frequency: np.ndarray) -> np.ndarray:
    """Names of two products or more, the most frequent if there are too many."""
    shared = np.flatnonzero(frequency > 1)
    return np.sort(shared[np.argsort(-frequency[shared], kind="stable")[:_MOST_NAMES]])


def _rarest(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The _MOST_TERMS entries with the largest values of each row; rows come sorted."""
    order = np.lexsort((-values, rows))
    begins = np.searchsorted(rows, rows)
    kept = np.sort(order[np.arange(len(rows)) - begins < _MOST_TERMS])
    return rows[kept], columns[kept], values[kept]


def similarity(
    profiles: sparse.csr_array, content: sparse.csr_array, candidates: np.ndarray
) -> np.ndarray:
    """Products [q, C] float32 of profiles [q, V] and the content of candidates [q, C], through the
    terms they share.
    """
    wanted = sparse.csr_array(profiles @ content).toarray()
    chosen = content[candidates.reshape(-1)]
    query = np.repeat(np.arange(candidates.size) // candidates.shape[1], np.diff(chosen.indptr))
    products = chosen.data * wanted[query, chosen.indices]
    return _sums(products, chosen.indptr).reshape(candidates.shape).astype(np.float32)


def _sums(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Sum of values[bounds[i]:bounds[i + 1]] of each i."""
    running = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return running[bounds[1:]] - running[bounds[:-1]]
