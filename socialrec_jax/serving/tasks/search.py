"""Items for queries in text: by the meaning of the text, and by its words."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.bm25 import BM25
from socialrec_jax.data.features.sparse_rows import top_k_sparse
from socialrec_jax.data.text.tokenizer import product_texts
from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.inference.candidates import first_of_each_item
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.index import Index, cosine_search
from socialrec_jax.serving.frames import arrow_strings
from socialrec_jax.serving.option_types import check_types
from socialrec_jax.serving.ranked_tables import check_k, ranked_schema, ranked_table

# Scores of words are sparse, but a frequent word has an entry for each item.
_ENTRIES_AT_ONCE = 1 << 24
_MOST_QUERIES_AT_ONCE = 1024

# Texts [n] to vectors [n, F] of length 1, in the space of the items' texts.
Encode = Callable[[Sequence[str]], np.ndarray]

# Texts, or a file with one query a line.
QueryTexts = Path | Sequence[str]

# (items [q, k] or -1, scores [q, k]), the best first
_List = tuple[np.ndarray, np.ndarray]

SCHEMA = ranked_schema("query", "item_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of the task, besides the queries."""

    k: int = 10  # items a query, 1..catalogue
    by: Literal["both", "text", "words"] = "both"


class SearchIndex:
    """The texts of a World, to be searched many times. Each part is made when it is first needed.

    encode: of queries; words alone need none.
    """

    def __init__(self, engine: Engine, encode: Encode):
        self.world, self.encode = engine.world, encode
        self._engine = engine

    @functools.cached_property
    def texts(self) -> list[str]:
        """Of the items [V], empty ones of deleted items, which keep their place."""
        pairs = zip(product_texts(self.world.items), self.world.deleted_items, strict=True)
        return ["" if is_deleted else text for text, is_deleted in pairs]

    @functools.cached_property
    def words(self) -> BM25:
        return BM25.fit(self.texts)

    @functools.cached_property
    def vectors(self) -> TextVectors:
        vectors = _text_part(self._engine.texts, self.encode)
        allowed = vectors.any(axis=1) & ~self.world.deleted_items
        return TextVectors(allowed, *cosine_search(vectors, self._engine.index.sharded))


@dataclasses.dataclass(frozen=True, eq=False)
class TextVectors:
    """The items' vectors of text on the devices."""

    allowed: np.ndarray  # [V] bool: has a text, and is not deleted
    index: Index
    inputs: Any  # of the index

    def top(self, queries: np.ndarray, k: int) -> _List:
        """The k nearest items of queries [q, F]."""
        unseen = Pairs(np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int32))
        tops = list(self.index.top(self.inputs, queries, unseen, k, self.allowed))
        items = np.concatenate([top.items for top in tops])
        scores = np.concatenate([top.scores for top in tops])
        exists = np.isfinite(scores) & queries.any(axis=1, keepdims=True)
        return np.where(exists, items, -1), scores


def search(index: SearchIndex, queries: QueryTexts, options: SearchOptions) -> Iterator[pa.Table]:
    """The k best items of each query, the best first, as a stream of tables of one schema.

    By text: cosine of the vectors of query and product text. By words: BM25. By both: the items
    whose words match, by BM25, and the nearest ones by text behind them, which score cosine - 1. A
    query that matches nothing has no rows. Raises BadData for a run without product texts.
    """
    check_types(options)
    check_k(options.k, index.world)
    texts = read_queries(queries)
    if not any(index.texts):
        raise BadData("the items of this run have no texts, so that there is nothing to search")
    if options.by != "words":
        # An encoder that is missing or damaged is named whatever the queries are.
        _ = index.vectors
    return itertools.chain([SCHEMA.empty_table()], _tables(index, texts, options))


def read_queries(queries: QueryTexts) -> list[str]:
    """The queries of a list, or of a file: one a line, blank lines left out."""
    if isinstance(queries, str):
        raise UsageError(f"{queries!r} is one query: give a list of queries, or a Path to a file")
    if not isinstance(queries, Path):
        return _checked_texts(list(queries))
    if not queries.is_file():
        raise InputMissing(f"{queries}: no such file of queries")
    try:
        # Some editors begin a file with a byte order mark, which is no part of a query.
        lines = queries.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadData(f"{queries}: is no text in UTF-8; give one query a line") from None
    return [line.strip() for line in lines if line.strip()]


def _checked_texts(texts: list[str]) -> list[str]:
    """The same texts. Raises UsageError for a value that is no text, such as a missing one."""
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"queries: {text!r} is no text")
    return texts


def _tables(index: SearchIndex, texts: list[str], options: SearchOptions) -> Iterator[pa.Table]:
    num_items = index.world.num_items
    item_names = arrow_strings(index.world.items.ids)
    size = int(np.clip(_ENTRIES_AT_ONCE // num_items, 1, _MOST_QUERIES_AT_ONCE))
    for begin in range(0, len(texts), size):
        part = texts[begin : begin + size]
        items, scores = _lists(index, part, options)
        yield ranked_table(SCHEMA, pa.array(part, pa.string()), item_names, items, scores)


def _lists(index: SearchIndex, queries: list[str], options: SearchOptions) -> _List:
    """The list of each query."""
    if options.by == "text":
        return _by_text(index, queries, options.k)
    items, scores = top_k_sparse(index.words.scores(queries), options.k)
    is_short = items[:, -1] < 0
    # Vectors of a small text model find the product of a title six times less often than its
    # words do, and no way to weigh both was better than words on other queries than those it
    # was chosen by (docs/results/serving.md). So vectors only fill lists up.
    if options.by == "both" and is_short.any():
        by_text = _by_text(index, list(itertools.compress(queries, is_short)), options.k)
        filled = _filled((items[is_short], scores[is_short]), by_text)
        items[is_short], scores[is_short] = filled
    return items, scores


def _by_text(index: SearchIndex, queries: list[str], k: int) -> _List:
    return index.vectors.top(index.encode(queries), k)


def _filled(by_words: _List, by_text: _List) -> _List:
    """Lists by words [q, k], where there is room with items of the lists by text [q, k]."""
    items = np.concatenate([by_words[0], by_text[0]], axis=1)
    # A cosine is 1 at most, so that no item by text scores above one by words.
    scores = np.concatenate([by_words[1], by_text[1] - 1], axis=1)
    exists = (items >= 0) & first_of_each_item(items)
    order = np.argsort(~exists, axis=1, kind="stable")[:, : by_words[0].shape[1]]
    items = np.where(exists, items, -1)
    return np.take_along_axis(items, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _text_part(vectors: np.ndarray, encode: Encode) -> np.ndarray:
    """The columns of the items' vectors that come from texts: they are the first ones."""
    width = encode([""]).shape[1]
    return np.ascontiguousarray(vectors[:, :width])
