"""Scores of the validation part by rankers that did not learn from its users.

The ranker learns from the validation part. Metrics on what it has learnt from would be too good, so
each user is scored by a ranker of the other fold (see `training.ranker`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np

from socialrec_jax.batch import Candidates
from socialrec_jax.inference.reranker import projection
from socialrec_jax.models.ranker import Ranker, scores
from socialrec_jax.shapes import Array

_QUERIES_AT_ONCE = 512


class OutOfFoldScorer:
    """Scores each query's candidates by the ranker that did not learn from its user."""

    def __init__(
        self, ranker: Ranker, candidates: Candidates, members: np.ndarray, catalogue: np.ndarray
    ):
        """candidates [Q, C]; members [Q]: the number of the ranker that scores each query;
        catalogue [V, D]: vectors of the items.
        """
        self.candidates = candidates
        self.members = members
        self.catalogue = jax.device_put(catalogue)
        self._scores = _compiled_scores(ranker.num_event_types, ranker.interactions, ranker.focus)
        self._project = projection(ranker.num_event_types, ranker.interactions)

    def __call__(self, params: dict) -> np.ndarray:
        """Scores [Q, C] by rankers with params [M, ...]; -inf where there is no candidate."""
        all_scores = np.full(self.candidates.items.shape, -np.inf, np.float32)
        # All queries of one ranker together: its projection of the catalogue is computed once.
        for number in np.unique(self.members):
            member = jax.tree.map(lambda leaf, m=number: np.asarray(leaf)[m], params)
            projected = self._project(member, self.catalogue)
            queries = np.flatnonzero(self.members == number)

            for begin in range(0, len(queries), _QUERIES_AT_ONCE):
                chunk = queries[begin : begin + _QUERIES_AT_ONCE]
                # The last chunk is filled up by repetition, so that one shape is compiled.
                chunk = np.resize(chunk, _QUERIES_AT_ONCE)
                all_scores[chunk] = self._score_chunk(member, projected, chunk)
        return all_scores

    def _score_chunk(self, member: dict, projected: Array, chunk: np.ndarray) -> np.ndarray:
        candidates = jax.tree.map(lambda leaf: leaf[chunk], self.candidates)
        values = self._scores(member, candidates, projected)
        return np.where(candidates.exists, values, -np.inf)


@functools.lru_cache(maxsize=2)
def _compiled_scores(num_event_types: int, interactions: int, focus: tuple[int, ...]) -> Callable:
    """One program for all rankers of these sizes, see `_scores`."""
    return jax.jit(functools.partial(_scores, Ranker(num_event_types, interactions, focus)))


def _scores(ranker: Ranker, params: dict, candidates: Candidates, projected: Array) -> Array:
    logits = ranker.bind({"params": params})(candidates, projected)
    return scores(logits, ranker.focus)
