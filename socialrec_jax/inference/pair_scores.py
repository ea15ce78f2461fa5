"""Scores of given pairs of user and item: those that a recommendation of the item would have."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.special import expit

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.sparse_rows import pairs_of, positions, values_at
from socialrec_jax.data.query import Query
from socialrec_jax.inference.candidates import chunk_size, cosines, totals_of
from socialrec_jax.inference.engine import Engine

# One width for all rows of items, so that a score depends on no other pair and one program
# compiles. A user with more items takes several rows.
_ITEMS_PER_ROW = 32


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The items of queries [Q] in r rows of one width."""

    queries: np.ndarray  # [r] the query of each row
    items: np.ndarray  # [r, width], -1 where there is none
    places: np.ndarray  # [N] flat position of each pair in the rows

    @classmethod
    def of(cls, pairs: Pairs, width: int) -> _Rows:
        lengths = np.diff(pairs.offsets)
        rows_per_query = -(-lengths // width)
        first_rows = np.cumsum(rows_per_query) - rows_per_query
        # The items of a query follow each other, so its rows are filled from the first on.
        position = np.arange(len(pairs.items)) - np.repeat(pairs.offsets[:-1], lengths)
        places = np.repeat(first_rows * width, lengths) + position

        queries = np.repeat(np.arange(len(lengths)), rows_per_query)
        items = np.full(len(queries) * width, -1, np.int32)
        items[places] = pairs.items
        return cls(queries, items.reshape(-1, width), places)


@dataclasses.dataclass(frozen=True, eq=False)
class PairTotals:
    """The log-sum-exp of the retriever's scores without the item of each of N pairs."""

    pairs: Pairs
    values: np.ndarray  # [N]
    num_items: int

    def at(self, queries: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The values [r, n] of items [r, n] for some of the queries [r]; 0 for other pairs."""
        rows = self.pairs.rows_of(queries)
        at = positions(pairs_of(items), self.pairs.of(queries), self.num_items)
        return values_at(self.values[rows], at).reshape(items.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Retrieval:
    """What the retriever says of queries [Q]."""

    states: np.ndarray  # [Q, D]
    seen: Pairs  # items of the histories
    log_totals: np.ndarray  # [Q] log-sum-exp over all items that are not seen
    catalogue: np.ndarray  # [V, D]
    popularity: np.ndarray  # [V] scores for users without history
    temperature: float
    # Where given, totals are those of the other items and of the item itself.
    other_totals: PairTotals | None = None

    @classmethod
    def of(cls, engine: Engine, query: Query) -> Retrieval:
        """As for recommendations, the totals are those of new items."""
        states = engine.states(query)
        seen = query.events.histories(query.users, query.history_ends)
        return cls(
            states=states,
            seen=seen,
            log_totals=log_totals(engine, query, states, seen),
            catalogue=np.asarray(engine.catalogue),
            popularity=engine.popularity(query.as_of),
            temperature=engine.config.model.temperature,
        )

    def part(self, rows: np.ndarray) -> Retrieval:
        """Some of the queries alone."""
        return dataclasses.replace(
            self,
            states=self.states[rows],
            seen=self.seen.of(rows),
            log_totals=self.log_totals[rows],
        )

    def scores(self, queries: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores [r, n] of items [r, n] for some of the queries [r]."""
        states = self.states[queries]
        unknown = ~states.any(axis=1, keepdims=True)
        retrieved = cosines(states, self.catalogue, items) / self.temperature
        return retrieved + np.where(unknown, self.popularity[items], 0)

    def totals(self, queries: np.ndarray, items: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The log totals [r, n] that scores [r, n] of items [r, n] are compared with."""
        if self.other_totals is not None:
            return np.logaddexp(self.other_totals.at(queries, items), scores)
        seen = self.seen.of(queries)
        return totals_of(items, scores, self.log_totals[queries], seen, len(self.catalogue))


def log_totals(engine: Engine, query: Query, states: np.ndarray, seen: Pairs) -> np.ndarray:
    """Log-sum-exp [Q] of the retriever's scores of all items that are not seen.

    states [Q, D]: of the queries.
    """
    inputs, counted = engine.index_inputs(query.as_of), ~engine.world.deleted_items
    # The list of the search is not read.
    tops = engine.index.top(inputs, states, seen, 1, counted=counted)
    totals = [top.log_totals for top in tops]
    return np.concatenate([np.zeros(0, np.float32), *totals])


def score_pairs(
    engine: Engine, query: Query, pairs: Pairs, retrieval: Retrieval | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(scores [N] float32, probabilities [N, A] float32) of the items of each query.

    query [Q]: each user once. pairs: N items, grouped by query. Scores and probabilities are those
    of `Engine.recommend` for new items. A row depends on its own user and item alone. retrieval: of
    the query, where the caller has it.
    """
    retrieval = retrieval or Retrieval.of(engine, query)
    rows = _Rows.of(pairs, _ITEMS_PER_ROW)
    scores = np.zeros(rows.items.shape, np.float32)
    probabilities = np.zeros((*rows.items.shape, engine.model.num_event_types), np.float32)

    size = chunk_size(_ITEMS_PER_ROW)
    for begin in range(0, len(rows.items), size):
        part = slice(begin, begin + size)
        queries, items = rows.queries[part], rows.items[part]
        scores[part], probabilities[part] = _score_rows(engine, query, retrieval, queries, items)
    of_pairs = probabilities.reshape(-1, probabilities.shape[-1])[rows.places]
    return scores.reshape(-1)[rows.places], of_pairs


def _score_rows(
    engine: Engine, query: Query, retrieval: Retrieval, queries: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(scores [r, n], probabilities [r, n, A]) of items [r, n] for some of the queries [r]."""
    # What does not exist is computed as item 0, and no pair reads it.
    existing = np.maximum(items, 0)
    states = retrieval.states[queries]
    scores = retrieval.scores(queries, existing)
    totals = retrieval.totals(queries, existing, scores)
    if engine.reranker is None:
        item_probabilities = np.exp(scores - totals)[..., None]
        return scores, item_probabilities * engine.type_shares(states, existing)

    generator = engine.reranker.generator
    query_features = generator.features.look_up(query.part(queries))
    candidates = generator.with_features(states, items, query_features, totals)
    scores, logits = engine.reranker.score(candidates)
    return scores, expit(logits)
