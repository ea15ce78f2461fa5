"""Judging lists of candidates, and what the ranker learns from: candidates with what happened next."""

from __future__ import annotations

import numpy as np

from socialrec_jax.evaluation.protocol import CUTOFFS, Judgement, Queries, judgement
from socialrec_jax.serving.index import UNRANKED


def judge_lists(items: np.ndarray, scores: np.ndarray, queries: Queries, num_items: int) -> Judgement:
    """Rank the targets of queries [Q] in lists of items [Q, C], best first, by their scores [Q, C].

    -inf marks the end of a list. A target outside the list is UNRANKED. Ties count against us.
    """
    query = np.repeat(np.arange(len(queries)), np.diff(queries.targets.offsets))
    ranks = np.empty(len(query), np.int64)
    for begin in range(0, len(query), 4096):
        at = slice(begin, begin + 4096)
        row, listed = query[at], np.isfinite(scores[query[at]])
        own = (items[row] == queries.targets.items[at, None]) & listed
        score = np.max(np.where(own, scores[row], -np.inf), axis=1)
        ranks[at] = np.where(own.any(1), np.sum(scores[row] >= score[:, None], axis=1), UNRANKED)
    return judgement(ranks, items[:, : max(CUTOFFS)], queries, num_items)


def labels(items: np.ndarray, exists: np.ndarray, queries: Queries, types: np.ndarray, num_types: int) -> np.ndarray:
    """[Q, C, A] float32: 1 where the query's user did this to the candidate in the held-out part.

    types [M]: event type of each target.
    """
    found = np.zeros((*items.shape, num_types), np.float32)
    query = np.repeat(np.arange(len(queries)), np.diff(queries.targets.offsets))
    for begin in range(0, len(query), 4096):
        at = slice(begin, begin + 4096)
        target, place = np.nonzero((items[query[at]] == queries.targets.items[at, None]) & exists[query[at]])
        found[query[at][target], place, types[at][target]] = 1
    return found
