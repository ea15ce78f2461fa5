"""How much lower the score of a recommendation is when an input of the model is left out.

Everything is computed anew without it: the user's state, the retriever's scores and totals, the
ranker's features, and the ranker.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.sparse_rows import num_columns
from socialrec_jax.data.history_variants import without_items
from socialrec_jax.data.query import Query
from socialrec_jax.inference.candidates import CandidateGenerator
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.pair_scores import PairTotals, Retrieval, log_totals, score_pairs


@dataclasses.dataclass(frozen=True, eq=False)
class LeaveOut:
    """Scores recommendations again without an input."""

    engine: Engine

    def contributions(self, query: Query, pairs: Pairs, recent: np.ndarray) -> np.ndarray:
        """Score - score without an input [N, h + 3] float32, of N pairs grouped by query.

        The inputs are each of the items recent [Q, h] of the history (0 where it is -1), all
        friendships of the user, the texts and labels of the recommended item, and its popularity.
        """
        retrieval = Retrieval.of(self.engine, query)
        scores, _ = score_pairs(self.engine, query, pairs, retrieval)
        of_itself = self._with_other_totals(query, pairs, retrieval)
        without = [
            *self._without_recent(query, pairs, recent, scores),
            self._without_friends(query, pairs, scores),
            self._without_text(query, pairs, of_itself),
            self._without_popularity(query, pairs, of_itself),
        ]
        return scores[:, None] - np.stack(without, axis=1)

    def _without_recent(
        self, query: Query, pairs: Pairs, recent: np.ndarray, scores: np.ndarray
    ) -> np.ndarray:
        """[h, N]: scores without each of the items of the history."""
        rows, columns = np.nonzero(recent >= 0)
        without = np.tile(scores, (recent.shape[1], 1))
        if not len(rows):
            return without
        variants = without_items(query, rows, recent[rows, columns])
        of_variants = pairs.of(rows)
        changed, _ = score_pairs(self.engine, variants, of_variants)
        column_of_pair = np.repeat(columns, np.diff(of_variants.offsets))
        without[column_of_pair, pairs.rows_of(rows)] = changed
        return without

    def _without_friends(self, query: Query, pairs: Pairs, scores: np.ndarray) -> np.ndarray:
        if query.friend_sampler is None:
            return scores
        alone = dataclasses.replace(query, friend_sampler=None)
        return score_pairs(self.engine, alone, pairs)[0]

    def _without_text(self, query: Query, pairs: Pairs, retrieval: Retrieval) -> np.ndarray:
        engine = self._engine_without_texts
        retrieval = dataclasses.replace(retrieval, catalogue=np.asarray(engine.catalogue))
        return score_pairs(engine, query, pairs, retrieval)[0]

    def _without_popularity(self, query: Query, pairs: Pairs, retrieval: Retrieval) -> np.ndarray:
        # Read for users without history: of an item that is no more popular than any other.
        least = np.full_like(retrieval.popularity, retrieval.popularity.min())
        retrieval = dataclasses.replace(retrieval, popularity=least)
        return score_pairs(self._engine_without_popularity, query, pairs, retrieval)[0]

    def _with_other_totals(self, query: Query, pairs: Pairs, retrieval: Retrieval) -> Retrieval:
        """The same retrieval, in which the score of a pair's item can be another one."""
        owners = pairs.owners
        seen = retrieval.seen.of(owners)
        # Each query once for each of its items, which is left out of the total.
        offsets = seen.offsets + np.arange(len(seen.offsets))
        items = np.insert(seen.items, seen.offsets[1:], pairs.items)
        states, others_seen = retrieval.states[owners], Pairs(offsets, items)
        totals = log_totals(self.engine, query.part(owners), states, others_seen)
        others = PairTotals(pairs, totals, self.engine.world.num_items)
        return dataclasses.replace(retrieval, other_totals=others)

    @functools.cached_property
    def _engine_without_texts(self) -> Engine:
        """Vectors and features of items that have neither texts nor labels."""
        engine = self.engine
        texts = np.zeros_like(engine.texts)
        catalogue = engine.catalogue_with(texts)
        if engine.reranker is None:
            return dataclasses.replace(engine, catalogue=catalogue)
        generator = engine.reranker.generator
        features = generator.features
        features = dataclasses.replace(
            features, labels=_empty(features.labels), words=_empty(features.words)
        )
        other = CandidateGenerator(
            generator.index, features, catalogue, texts, generator.temperature
        )
        reranker = engine.reranker.with_generator(other)
        return dataclasses.replace(engine, catalogue=catalogue, reranker=reranker)

    @functools.cached_property
    def _engine_without_popularity(self) -> Engine:
        """Every item has the popularity features of the least popular one."""
        engine = self.engine
        if engine.reranker is None:
            return engine
        generator = engine.reranker.generator
        features = generator.features
        least = features.item_popularity[features.recent_popularity.argmin()]
        popularity = np.broadcast_to(least, features.item_popularity.shape)
        features = dataclasses.replace(features, item_popularity=popularity)
        other = CandidateGenerator(
            generator.index, features, engine.catalogue, generator.texts, generator.temperature
        )
        return dataclasses.replace(engine, reranker=engine.reranker.with_generator(other))


def _empty(matrix: sparse.csr_array) -> sparse.csr_array:
    """A matrix of the same shape without entries."""
    shape = (len(matrix.indptr) - 1, num_columns(matrix))
    return sparse.csr_array(shape, dtype=matrix.dtype)
