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
from socialrec_jax.data.features.sparse_rows import top_k_sparse
from socialrec_jax.data.text.tokenizer import product_texts
from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.index import cosine_search
from socialrec_jax.serving.frames import arrow_strings
from socialrec_jax.serving.ranked_tables import check_k, ranked_schema, ranked_table

# Reciprocal rank fusion: Cormack, Clarke and Buettcher (2009), whose constant this is.
_RANK_OFFSET = 60
_LEAST_DEPTH = 100  # items of each list that is joined

# Of the lists by words and by text. Vectors of a small text model find the product of a title six
# times less often than its words do, and with equal weights both together lose a sixth of what the
# words find (docs/results.md). So vectors decide between items whose words match nearly as well,
# and answer queries of which no word matches.
_WEIGHTS = (1.0, 0.05)

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

    By text: cosine of the vectors of query and product text. By words: BM25. By both: the sum of
    weight / (60 + rank) in the two lists, each cut after 100 items, or k; words weigh 1, and text
    0.05. A query that matches nothing has no rows. Raises BadData for a run without product texts.
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
    lists_of = _Lists(engine, encode, max(options.k, _LEAST_DEPTH), options.by)
    item_names = arrow_strings(engine.world.items.ids)
    size = int(np.clip(_ENTRIES_AT_ONCE // num_items, 1, _MOST_QUERIES_AT_ONCE))
    for begin in range(0, len(texts), size):
        part = texts[begin : begin + size]
        lists = lists_of(part)
        items, scores = lists[0] if len(lists) == 1 else fuse(lists, num_items, options.k)
        names = pa.array(part, pa.string())
        best = items[:, : options.k], scores[:, : options.k]
        yield ranked_table(SCHEMA, names, item_names, *best)


# (items [q, n] or -1, scores [q, n]), the best first
_List = tuple[np.ndarray, np.ndarray]


class _Lists:
    """The lists of a catalogue that are joined, each `depth` items long at most."""

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

    def __call__(self, queries: list[str]) -> list[_List]:
        by_words = [] if self._by == "text" else [self._by_words(queries)]
        by_text = [] if self._by == "words" else [self._by_text(queries)]
        return by_words + by_text

    def _by_words(self, queries: list[str]) -> _List:
        return top_k_sparse(self._words.scores(queries), self._depth)

    def _by_text(self, queries: list[str]) -> _List:
        vectors = self._encode(queries)
        unseen = Pairs(np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int32))
        tops = list(self._index.top(self._inputs, vectors, unseen, self._depth, self._allowed))
        items = np.concatenate([top.items for top in tops])
        scores = np.concatenate([top.scores for top in tops])
        exists = np.isfinite(scores) & vectors.any(axis=1, keepdims=True)
        return np.where(exists, items, -1), scores


def _text_part(vectors: np.ndarray, encode: Encode) -> np.ndarray:
    """The columns of the items' vectors that come from texts: they are the first ones."""
    width = encode([""]).shape[1]
    return np.ascontiguousarray(vectors[:, :width])


def fuse(
    lists: Sequence[_List], num_items: int, k: int, weights_of_lists: Sequence[float] = _WEIGHTS
) -> _List:
    """The k items with the largest sums of weight / (60 + rank) in the lists of each query."""
    columns = [items for items, _ in lists]
    weights = [
        np.broadcast_to(of_list * _reciprocal_ranks(items.shape[1]), items.shape)
        for items, of_list in zip(columns, weights_of_lists, strict=True)
    ]
    items, weight = np.concatenate(columns, axis=1), np.concatenate(weights, axis=1)
    row, place = np.nonzero(items >= 0)
    entries = (weight[row, place], (row, items[row, place]))
    # Of an item in both lists the weights are added up.
    sums = sparse.csr_array(entries, (len(items), num_items), dtype=np.float32)
    return top_k_sparse(sums, k)


def _reciprocal_ranks(count: int) -> np.ndarray:
    return (1 / (_RANK_OFFSET + np.arange(1, count + 1))).astype(np.float32)
