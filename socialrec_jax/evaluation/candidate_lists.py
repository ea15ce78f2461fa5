"""Judging lists of candidates, and what the ranker learns from: candidates with what happened
next.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from socialrec_jax.batch import Candidates
from socialrec_jax.evaluation.protocol import (
    CUTOFFS,
    EvaluationQueries,
    EvaluationResult,
    evaluation_result,
)
from socialrec_jax.inference.index import UNRANKED
from socialrec_jax.models.ranker import Ranker, scores
from socialrec_jax.shapes import Array

_QUERIES_AT_ONCE = 512
_TARGETS_AT_ONCE = 4096


def ranks_in_lists(items: np.ndarray, values: np.ndarray, queries: EvaluationQueries) -> np.ndarray:
    """Rank [M] of each target of queries [Q] in lists of items [Q, C], best first, by their values
    [Q, C].

    -inf marks the end of a list. A target outside the list is UNRANKED. Ties count against us.
    """
    query = np.repeat(np.arange(len(queries)), np.diff(queries.targets.offsets))
    ranks = np.empty(len(query), np.int64)
    for begin in range(0, len(query), _TARGETS_AT_ONCE):
        at = slice(begin, begin + _TARGETS_AT_ONCE)
        row, listed = query[at], np.isfinite(values[query[at]])
        own = (items[row] == queries.targets.items[at, None]) & listed
        score = np.max(np.where(own, values[row], -np.inf), axis=1)
        ranks[at] = np.where(own.any(1), np.sum(values[row] >= score[:, None], axis=1), UNRANKED)
    return ranks


def evaluate_lists(
    items: np.ndarray, values: np.ndarray, queries: EvaluationQueries, num_items: int
) -> EvaluationResult:
    """Judge lists of items [Q, C] by their values [Q, C]; see `ranks_in_lists`."""
    return evaluation_result(
        ranks_in_lists(items, values, queries), items[:, : max(CUTOFFS)], queries, num_items
    )


def evaluate_unsorted(
    items: np.ndarray, values: np.ndarray, queries: EvaluationQueries, num_items: int
) -> EvaluationResult:
    """The same of lists in any order."""
    order = np.argsort(-values, axis=1, kind="stable")
    return evaluate_lists(
        np.take_along_axis(items, order, 1),
        np.take_along_axis(values, order, 1),
        queries,
        num_items,
    )


def reliability(
    probabilities: np.ndarray, came_true: np.ndarray, bins: int = 10
) -> list[tuple[float, float, int]]:
    """(mean chance, share that came true, how many) of equally many predictions [n] each, from the
    least likely on.
    """
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(float(probabilities[p].mean()), float(came_true[p].mean()), len(p)) for p in parts]


class OutOfFold:
    """Scores each query's candidates by the ranker that did not learn from its user."""

    def __init__(
        self, ranker: Ranker, candidates: Candidates, members: np.ndarray, catalogue: np.ndarray
    ):
        """candidates [Q, C] with the number [Q] of the ranker that judges each; catalogue [V, D]:
        vectors of items.
        """
        self.candidates, self.members, self.catalogue = candidates, members, jnp.asarray(catalogue)
        self._call = jax.jit(functools.partial(_scores, ranker))
        self._project = jax.jit(functools.partial(_project, ranker))

    def __call__(self, params: dict) -> np.ndarray:
        """Scores [Q, C] by rankers with params [M, ...]; -inf where there is no candidate."""
        found = np.full(self.candidates.items.shape, -np.inf, np.float32)
        for number in np.unique(self.members):
            member = jax.tree.map(lambda leaf, m=number: np.asarray(leaf)[m], params)
            projected = self._project(member, self.catalogue)
            chosen = np.flatnonzero(self.members == number)
            for begin in range(0, len(chosen), _QUERIES_AT_ONCE):
                rows = np.resize(
                    chosen[begin : begin + _QUERIES_AT_ONCE], _QUERIES_AT_ONCE
                )  # one shape compiles
                candidates = jax.tree.map(lambda leaf, rows=rows: leaf[rows], self.candidates)
                found[rows] = np.where(
                    candidates.exists, self._call(member, candidates, projected), -np.inf
                )
        return found


def _scores(ranker: Ranker, params: dict, candidates: Candidates, projected: Array) -> Array:
    return scores(ranker.bind({"params": params})(candidates, projected), ranker.focus)


def _project(ranker: Ranker, params: dict, catalogue: Array) -> Array:
    return ranker.bind({"params": params}).project(catalogue)


def labels(
    items: np.ndarray,
    exists: np.ndarray,
    queries: EvaluationQueries,
    types: np.ndarray,
    num_types: int,
) -> np.ndarray:
    """[Q, C, A] float32: 1 where the query's user did this to the candidate in the held-out part.

    types [M]: event type of each target.
    """
    found = np.zeros((*items.shape, num_types), np.float32)
    query = np.repeat(np.arange(len(queries)), np.diff(queries.targets.offsets))
    for begin in range(0, len(query), _TARGETS_AT_ONCE):
        at = slice(begin, begin + _TARGETS_AT_ONCE)
        target, place = np.nonzero(
            (items[query[at]] == queries.targets.items[at, None]) & exists[query[at]]
        )
        found[query[at][target], place, types[at][target]] = 1
    return found
