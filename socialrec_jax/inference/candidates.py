"""Candidates of each query: the union of several sources, with features for the ranker."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from socialrec_jax.batch import Candidates
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.ranker_features import QueryFeatures, RankerFeatures
from socialrec_jax.data.features.sparse_rows import pairs_of, positions
from socialrec_jax.data.query import Query
from socialrec_jax.inference.chunks import map_padded
from socialrec_jax.inference.index import Index, TopItems
from socialrec_jax.models.ranker import measure
from socialrec_jax.runtime import parallel
from socialrec_jax.shapes import Array

SOURCES = ("history", "bought together", "friends", "trending", "popular")
POPULAR = SOURCES.index("popular")  # for users without history

# The length of each list. An item keeps the first source that proposes it.
PER_LIST = {"history": 100, "bought together": 60, "friends": 40, "trending": 20}

# Features and ranks are computed for so many queries at a time, or fewer if lists are long.
_QUERIES_AT_ONCE = 512
_CANDIDATES_AT_ONCE = 1 << 20


@dataclasses.dataclass(frozen=True)
class CandidateRequest:
    """Queries [Q] that need candidates.

    inputs: what the index scores with, see `Engine.index_inputs`. Scores depend neither on allowed
    nor on repeats.
    """

    inputs: Any
    states: np.ndarray  # [Q, D] of the retriever
    query: Query
    seen: Pairs  # items of the histories
    allowed: np.ndarray | None = None  # [V] bool: only these items are candidates, all by default
    counted: np.ndarray | None = None  # [V] bool: probabilities add up over them, all by default
    repeats: bool = False  # seen items are candidates, too
    k: int = 0  # at least so many candidates each, where there are as many


@dataclasses.dataclass(frozen=True)
class GeneratedCandidates:
    """The candidates of q queries, padded to one number C."""

    candidates: Candidates
    sources: np.ndarray  # [q, C] index into SOURCES


class CandidateGenerator:
    """Proposes candidates and looks up their features.

    Host work around an exact search on the devices.
    """

    def __init__(
        self,
        index: Index,
        features: RankerFeatures,
        catalogue: Array,
        texts: np.ndarray,
        temperature: float,
    ):
        """catalogue [V, D] and texts [V, F]: vectors of the items.

        temperature: of the retriever's cosines.
        """
        self.index, self.features = index, features
        self.texts, self.temperature = texts, temperature
        # On the host, for the ranker to project; below, on the devices beside the texts.
        self.catalogue = np.asarray(catalogue)
        self._vectors = parallel.replicate((self.catalogue, texts))

    def generate(self, request: CandidateRequest) -> Iterator[GeneratedCandidates]:
        """The candidates of a request, in chunks that cover all its queries in order."""
        lengths = self._list_lengths(request)
        size = chunk_size(sum(lengths.values()))
        found = self.index.top(
            request.inputs,
            request.states,
            request.seen,
            lengths["history"],
            request.allowed,
            counted=request.counted,
            repeats=request.repeats,
        )
        begin = 0
        for top in _in_chunks(found, size):
            end = begin + len(top.items)
            yield self._join(_part(request, begin, end), top, lengths)
            begin = end

    def _list_lengths(self, request: CandidateRequest) -> dict[str, int]:
        retrieved = max(PER_LIST["history"], request.k)
        return PER_LIST | {"history": min(retrieved, self.index.num_items)}

    def _join(
        self, request: CandidateRequest, top: TopItems, lengths: dict[str, int]
    ) -> GeneratedCandidates:
        """The union of what the index finds and what the features propose."""
        states = request.states
        query_features = self.features.look_up(request.query)
        retrieved = np.where(np.isfinite(top.scores), top.items, -1)
        lists = {"history": retrieved} | self.features.proposals(query_features, lengths)
        items, sources = _union(lists, request, len(self.texts), sum(lengths.values()))
        # For a state of zeros the index scores by popularity.
        unknown = ~states.any(axis=1, keepdims=True)
        sources = np.where(unknown & (sources == 0), POPULAR, sources)
        totals = self._totals(request, items, top.log_totals)
        candidates = self.with_features(states, items, query_features, totals)
        return GeneratedCandidates(candidates, sources)

    def _totals(
        self, request: CandidateRequest, items: np.ndarray, log_totals: np.ndarray
    ) -> np.ndarray:
        """What the scores of items [q, C] are compared with: [q, 1], or [q, C] with repeats."""
        if not request.repeats:
            return log_totals[:, None]
        existing = np.maximum(items, 0)
        scores = cosines(request.states, self.catalogue, existing) / self.temperature
        return totals_of(existing, scores, log_totals, request.seen, len(self.catalogue))

    def with_features(
        self,
        states: np.ndarray,
        items: np.ndarray,
        query_features: QueryFeatures,
        log_totals: np.ndarray,
    ) -> Candidates:
        """The candidates items [q, C], -1 where there is none, with their features.

        log_totals [q, C] or [q, 1]: log-sum-exp of the retriever's scores.
        """
        # What does not exist is computed as item 0 and masked by `exists`.
        exists = items >= 0
        items = np.maximum(items, 0)
        profiles = np.asarray(query_features.history @ self.texts, np.float32)
        rows = (states, profiles, items)
        cosine, text = map_padded(_measures(), self._vectors, rows, chunk_size(items.shape[1]))
        log_probability = cosine / self.temperature - log_totals
        features = self.features.compute(query_features, items, log_probability, text)
        return Candidates(states=states, items=items, exists=exists, features=features)


def chunk_size(num_candidates: int) -> int:
    """How many queries with so many candidates each are computed at a time."""
    return int(np.clip(_CANDIDATES_AT_ONCE // num_candidates, 1, _QUERIES_AT_ONCE))


def cosines(states: np.ndarray, catalogue: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The products [q, n] of states [q, D] with the vectors of items [q, n]."""
    return np.einsum("rd,rnd->rn", states, catalogue[items])


def totals_of(
    items: np.ndarray, scores: np.ndarray, log_totals: np.ndarray, seen: Pairs, num_items: int
) -> np.ndarray:
    """The log totals [q, n] that scores [q, n] of items [q, n] are compared with.

    log_totals [q]: those of new items. An item of the history is no part of it, so its score is
    added.
    """
    new_items = np.broadcast_to(log_totals[:, None], items.shape)
    is_seen = positions(pairs_of(items), seen, num_items).reshape(items.shape) >= 0
    return np.where(is_seen, np.logaddexp(new_items, scores), new_items)


def _in_chunks(parts: Iterator[TopItems], size: int) -> Iterator[TopItems]:
    """The same queries in order, `size` at a time: the index has a chunk size of its own."""
    waiting: TopItems | None = None
    for part in parts:
        waiting = part if waiting is None else _concatenate_tops(waiting, part)
        while len(waiting.items) >= size:
            yield _rows_of_top(waiting, slice(size))
            waiting = _rows_of_top(waiting, slice(size, None))
    if waiting is not None and len(waiting.items):
        yield waiting


def _concatenate_tops(first: TopItems, second: TopItems) -> TopItems:
    columns = zip(first, second, strict=True)
    return TopItems(*(np.concatenate(pair) for pair in columns))


def _rows_of_top(top: TopItems, rows: slice) -> TopItems:
    return TopItems(*(column[rows] for column in top))


def _part(request: CandidateRequest, begin: int, end: int) -> CandidateRequest:
    """The queries begin..end - 1 of a request."""
    return dataclasses.replace(
        request,
        states=request.states[begin:end],
        query=request.query.part(slice(begin, end)),
        seen=request.seen.part(begin, end),
    )


@functools.cache
def _measures() -> Callable:
    """One for all generators: what is compiled for the ranker's training serves evaluation too."""

    def measure_candidates(vectors: tuple, query: tuple) -> tuple[Array, Array]:
        return measure(*query, *vectors)

    return parallel.map_devices(measure_candidates)


def _union(
    lists: dict[str, np.ndarray], request: CandidateRequest, num_items: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """(items [q, width] or -1, sources [q, width]) of all lists, every item once.

    Without what the request has seen, unless it repeats, and without what it does not allow.
    """
    proposed, sources = _concatenate(lists)
    # Lists may be short (-1), and name the same items.
    keep = first_of_each_item(proposed) & (proposed >= 0)
    if not request.repeats:
        position_in_seen = positions(pairs_of(proposed), request.seen, num_items)
        keep &= position_in_seen.reshape(proposed.shape) < 0
    if request.allowed is not None:
        # -1 reads the last item, but `keep` is false there already.
        keep &= request.allowed[proposed]
    return _move_to_front(keep, proposed, sources, width)


def _concatenate(lists: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(items [q, n] of all lists side by side, the source of each column [n])."""
    sources = [np.full(items.shape[1], SOURCES.index(name)) for name, items in lists.items()]
    return np.concatenate(list(lists.values()), axis=1), np.concatenate(sources)


def first_of_each_item(items: np.ndarray) -> np.ndarray:
    """Where an item [q, n] occurs for the first time in its row."""
    # The stable sort keeps the earlier list first among equal items.
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, 1)
    first_in_order = np.ones(items.shape, bool)
    first_in_order[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty(items.shape, bool)
    np.put_along_axis(first, order, first_in_order, 1)
    return first


def _move_to_front(
    keep: np.ndarray, items: np.ndarray, sources: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """(items [q, width], sources [q, width]): those to keep first, in their order, then -1."""
    # False sorts before True, and a stable sort keeps the order of the lists.
    order = np.argsort(~keep, axis=1, kind="stable")
    kept = np.take_along_axis(np.where(keep, items, -1), order, 1)
    padding = ((0, 0), (0, width - items.shape[1]))
    return np.pad(kept, padding, constant_values=-1), np.pad(sources[order], padding)
