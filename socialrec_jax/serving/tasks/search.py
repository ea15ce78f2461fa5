"""Items for queries in text: by the meaning of the text, and by its words."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.bm25 import BM25
from socialrec_jax.data.features.sparse_rows import (
    entries_of,
    num_columns,
    pairs_of,
    positions,
    top_k_sparse,
    values_at,
)
from socialrec_jax.data.text.tokenizer import product_texts
from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.index import cosine_search
from socialrec_jax.serving.frames import arrow_strings
from socialrec_jax.serving.ranked_tables import check_k, ranked_schema, ranked_table

_LEAST_DEPTH = 100  # items of each list that is joined

# The weight of text beside words, where both are standardised: a convex combination as in Bruch,
# Gai and Ingber, "An analysis of fusion functions for hybrid retrieval" (2023). Vectors of a small
# text model find the product of a title six times less often than its words do. So they decide
# between items whose words match nearly as well, and answer queries of which no word matches
# (docs/results.md).
_TEXT_SHARE = 0.02

_LEAST_DEVIATION = 1e-6  # of scores that are not all equal but for rounding

# Scores of words are sparse, but a frequent word has an entry for each item.
_ENTRIES_AT_ONCE = 1 << 24
_MOST_QUERIES_AT_ONCE = 1024

# Texts [n] to vectors [n, F] of length 1, in the space of the items' texts.
Encode = Callable[[Sequence[str]], np.ndarray]

# Texts, or a file with one query a line.
QueryTexts = Path | Sequence[str]

SCHEMA = ranked_schema("query", "item_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of the task, besides the queries."""

    k: int = 10  # items a query, 1..catalogue
    by: Literal["both", "text", "words"] = "both"


def search(
    engine: Engine, encode: Encode, queries: QueryTexts, options: SearchOptions
) -> Iterator[pa.Table]:
    """The k best items of each query, the best first, as a stream of tables of one schema.

    By text: cosine of the vectors of query and product text. By words: BM25. By both: the items of
    the two lists, each cut after 100 items, or k, by the weighted mean of both scores, which are
    standardised over these items; words weigh 0.98, and text 0.02. A query that matches nothing has
    no rows. Raises BadData for a run without product texts.
    """
    check_k(options.k, engine.world)
    texts = read_queries(queries)
    if not any(product_texts(engine.world.items)):
        raise BadData("the items of this run have no texts, so that there is nothing to search")
    return itertools.chain([SCHEMA.empty_table()], _tables(engine, encode, texts, options))


def read_queries(queries: QueryTexts) -> list[str]:
    """The queries of a list, or of a file: one a line, blank lines left out."""
    if isinstance(queries, str):
        raise UsageError(f"{queries!r} is one query: give a list of queries, or a Path to a file")
    if not isinstance(queries, Path):
        return list(queries)
    if not queries.is_file():
        raise InputMissing(f"{queries}: no such file of queries")
    try:
        # Some editors begin a file with a byte order mark, which is no part of a query.
        lines = queries.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadData(f"{queries}: is no text in UTF-8; give one query a line") from None
    return [line.strip() for line in lines if line.strip()]


def _tables(
    engine: Engine, encode: Encode, texts: list[str], options: SearchOptions
) -> Iterator[pa.Table]:
    num_items = engine.world.num_items
    lists = _Lists(engine, encode, max(options.k, _LEAST_DEPTH), options.by)
    item_names = arrow_strings(engine.world.items.ids)
    size = int(np.clip(_ENTRIES_AT_ONCE // num_items, 1, _MOST_QUERIES_AT_ONCE))
    for begin in range(0, len(texts), size):
        part = texts[begin : begin + size]
        items, scores = lists.of(part)
        names = pa.array(part, pa.string())
        best = items[:, : options.k], scores[:, : options.k]
        yield ranked_table(SCHEMA, names, item_names, *best)


# (items [q, n] or -1, scores [q, n]), the best first
_List = tuple[np.ndarray, np.ndarray]


class _Lists:
    """The best items of queries, `depth` of them by words and by text at most."""

    def __init__(self, engine: Engine, encode: Encode, depth: int, by: str):
        items, deleted = engine.world.items, engine.world.deleted_items
        self._depth, self._by, self._encode = min(depth, len(deleted)), by, encode
        if by != "text":
            texts = product_texts(items)
            # Deleted items keep their place, so that a text's position is its item's number.
            kept = ["" if gone else text for text, gone in zip(texts, deleted, strict=True)]
            self._words = BM25.fit(kept)
        if by != "words":
            self._vectors = _text_part(engine.texts, encode)
            self._allowed = self._vectors.any(axis=1) & ~deleted
            self._index, self._inputs = cosine_search(self._vectors, engine.index.sharded)

    def of(self, queries: list[str]) -> _List:
        """The list of each query."""
        if self._by == "words":
            return top_k_sparse(self._words.scores(queries), self._depth)
        vectors = self._encode(queries)
        by_text = self._by_text(vectors)
        if self._by == "text":
            return by_text
        by_words = self._words.scores(queries)
        items, _ = top_k_sparse(by_words, self._depth)
        return self._joined(np.concatenate([items, by_text[0]], axis=1), by_words, vectors)

    def _by_text(self, vectors: np.ndarray) -> _List:
        """The list of each query vector [q, F], which is zeros where the text says nothing."""
        unseen = Pairs(np.zeros(len(vectors) + 1, np.int64), np.zeros(0, np.int32))
        tops = list(self._index.top(self._inputs, vectors, unseen, self._depth, self._allowed))
        items = np.concatenate([top.items for top in tops])
        scores = np.concatenate([top.scores for top in tops])
        exists = np.isfinite(scores) & vectors.any(axis=1, keepdims=True)
        return np.where(exists, items, -1), scores

    def _joined(self, items: np.ndarray, words: sparse.csr_array, vectors: np.ndarray) -> _List:
        """Items [q, n] of both lists, -1 for none, by both scores: words [q, V], vectors [q, F]."""
        # Sorted: an item of both lists stands beside itself, and of equal scores the lower number
        # comes first.
        items = np.sort(items, axis=1)
        is_new = np.diff(items, axis=1, prepend=-1) != 0
        exists = (items >= 0) & is_new
        existing = np.maximum(items, 0)

        at = positions(pairs_of(existing), entries_of(words), num_columns(words))
        of_words = values_at(words.data, at).reshape(items.shape)
        # Query by query: a product of many may add up in another order than one alone.
        pairs = zip(existing, vectors, strict=True)
        of_text = np.stack([self._vectors[of_query] @ vector for of_query, vector in pairs])
        scores = combined(of_words, of_text, exists)

        order = np.argsort(-scores, axis=1, kind="stable")
        items = np.where(exists, items, -1)
        return np.take_along_axis(items, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _text_part(vectors: np.ndarray, encode: Encode) -> np.ndarray:
    """The columns of the items' vectors that come from texts: they are the first ones."""
    width = encode([""]).shape[1]
    return np.ascontiguousarray(vectors[:, :width])


def combined(words: np.ndarray, text: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """The weighted means [q, n] of both scores [q, n], -inf where an item does not exist."""
    by_words = (1 - _TEXT_SHARE) * _standardised(words, exists)
    by_text = _TEXT_SHARE * _standardised(text, exists)
    return np.where(exists, by_words + by_text, -np.inf)


def _standardised(scores: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Scores [q, n] with mean 0 and deviation 1 over the items that exist in a row.

    Where all of them are equal, they become 0.
    """
    counts = np.maximum(exists.sum(axis=1, keepdims=True), 1)
    means = np.where(exists, scores, 0).sum(axis=1, keepdims=True, dtype=np.float64) / counts
    centred = np.where(exists, scores - means, 0)
    deviations = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / counts)
    return centred / np.maximum(deviations, _LEAST_DEVIATION)
