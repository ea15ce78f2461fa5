"""Items that are similar to given items."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import scipy.sparse as sparse

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.sparse_rows import top_k_sparse
from socialrec_jax.data.text.whitening import unit_rows
from socialrec_jax.errors import BadData
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.index import cosine_search
from socialrec_jax.serving.co_occurrence import co_occurrence
from socialrec_jax.serving.frames import Ids, arrow_strings, find_numbers
from socialrec_jax.serving.option_types import check_types
from socialrec_jax.serving.ranked_tables import check_k, ranked_schema, ranked_table

# Rows of co-occurrence that are sorted together.
_ITEMS_AT_ONCE = 1 << 14

SCHEMA = ranked_schema("item_id", "similar_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimilarOptions:
    """Options of the task, besides the items."""

    k: int = 10  # similar items an item, 1..catalogue
    by: Literal["vectors", "text", "events"] = "vectors"


def similar(
    engine: Engine, as_of: AsOf, items: Ids | None, options: SimilarOptions
) -> Iterator[pa.Table]:
    """The k items most similar to each item (ids, all where None), as a stream of tables.

    By vectors: cosine of the retriever's item vectors. By text: cosine of the vectors of text and
    image; an item without one is similar to nothing. By events: co-occurrence in histories as of
    the time, see `ItemKNN`. No item is similar to itself. Raises BadData where an id is unknown, or
    by text for a run without texts.
    """
    world = engine.world
    check_types(options)
    check_k(options.k, world)
    numbers = np.flatnonzero(~world.deleted_items)
    if items is not None:
        numbers = find_numbers(world.items.ids, items, "item")
    names = arrow_strings(world.items.ids)
    parts = _parts(engine, as_of, numbers, options)
    tables = (
        ranked_table(SCHEMA, names.take(pa.array(rows)), names, top, scores)
        for rows, top, scores in parts
    )
    return itertools.chain([SCHEMA.empty_table()], tables)


# (items [q], similar items [q, k] or -1, scores [q, k])
_Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def _parts(
    engine: Engine, as_of: AsOf, numbers: np.ndarray, options: SimilarOptions
) -> Iterator[_Part]:
    if options.by == "events":
        return _by_events(engine, as_of, numbers, options.k)
    if options.by == "vectors":
        return _by_vectors(engine, np.asarray(engine.catalogue), numbers, options.k)
    if not engine.texts.any():
        raise BadData("--by text: the items of this run have no texts; choose vectors or events")
    return _by_vectors(engine, engine.texts, numbers, options.k)


def _by_vectors(
    engine: Engine, vectors: np.ndarray, numbers: np.ndarray, k: int
) -> Iterator[_Part]:
    """By the cosine of vectors [V, F]; zeros are no vector."""
    unit_vectors = unit_rows(vectors)
    has_vector = np.asarray(unit_vectors.any(axis=1))
    numbers = numbers[has_vector[numbers]]
    index, inputs = cosine_search(unit_vectors, engine.index.sharded)
    # Each item is its own history, which the search masks.
    itself = Pairs(np.arange(len(numbers) + 1), numbers.astype(np.int32))
    allowed = has_vector & ~engine.world.deleted_items

    begin = 0
    for top in index.top(inputs, unit_vectors[numbers], itself, k, allowed):
        end = begin + len(top.items)
        yield numbers[begin:end], np.where(np.isfinite(top.scores), top.items, -1), top.scores
        begin = end


def _by_events(engine: Engine, as_of: AsOf, numbers: np.ndarray, k: int) -> Iterator[_Part]:
    """By co-occurrence; no item is its own neighbour there."""
    similarity = co_occurrence(engine, as_of)
    # Entries of zero are not found.
    is_deleted = engine.world.deleted_items[similarity.indices]
    weights = np.where(is_deleted, np.float32(0), similarity.data)
    entries = (weights, similarity.indices, similarity.indptr)
    remaining = sparse.csr_array(entries, similarity.shape)
    for begin in range(0, len(numbers), _ITEMS_AT_ONCE):
        rows = numbers[begin : begin + _ITEMS_AT_ONCE]
        yield rows, *top_k_sparse(sparse.csr_array(remaining[rows]), k)
