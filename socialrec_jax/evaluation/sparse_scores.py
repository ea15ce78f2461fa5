"""Exact ranks of held-out items by sparse scores or by popularity, without queries x catalogue.

Both follow the protocol: seen items are masked, and ties count against the model. Among equal
scores the item with the lower number comes first in a list.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse

from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.features.sparse_rows import (
    entries_of,
    order_bits,
    pairs_of,
    positions,
    top_k_sparse,
    values_at,
)
from socialrec_jax.evaluation.protocol import (
    CUTOFFS,
    EvaluationQueries,
    EvaluationResult,
    evaluation_result,
)
from socialrec_jax.inference.index import UNRANKED

_QUERIES_AT_ONCE = 512

RanksAndTop = tuple[np.ndarray, np.ndarray]  # rank [M] of each target, best items [Q, k]


def evaluate_sparse(
    scores: Callable[[EvaluationQueries], sparse.csr_array],
    queries: EvaluationQueries,
    num_items: int,
) -> EvaluationResult:
    """Rank by scores(some queries [q]) -> [q, V], none of them negative; no entry is a score of
    0.
    """
    k = min(max(CUTOFFS), num_items)
    return _evaluate(lambda part: ranks_by_scores(scores(part), part, k), queries, num_items)


@dataclasses.dataclass(frozen=True)
class PopularList:
    """The items in one order for everybody: sorted once, for any number of queries."""

    best_first: np.ndarray  # [V] int32
    level: np.ndarray  # [V] higher levels are better, equal scores share one
    levels: np.ndarray  # [V] the same, ascending

    @classmethod
    def of(cls, popularity: np.ndarray) -> PopularList:
        """Of scores [V]."""
        best_first = np.argsort(-popularity, kind="stable").astype(np.int32)
        _, level = np.unique(popularity, return_inverse=True)
        return cls(best_first, level, np.sort(level))

    def evaluate(self, queries: EvaluationQueries) -> EvaluationResult:
        """Rank the targets of queries by the list."""
        k = min(max(CUTOFFS), len(self.level))

        def ranks_and_top(part: EvaluationQueries) -> RanksAndTop:
            return self._ranks(part), _best_unseen(self.best_first, part.seen, k)

        return _evaluate(ranks_and_top, queries, len(self.level))

    def _ranks(self, queries: EvaluationQueries) -> np.ndarray:
        """Rank [M] of each target."""
        num_items = len(self.level)
        seen, targets = queries.seen, queries.targets
        own = self.level[targets.items]
        in_catalogue = num_items - np.searchsorted(self.levels, own)

        seen_rows, seen_items = seen.distinct(num_items)
        masked = _at_least(seen_rows, self.level[seen_items], targets.owners, own)
        return _unranked_if_seen(in_catalogue - masked, queries, num_items)


def _evaluate(
    ranks_and_top: Callable[[EvaluationQueries], RanksAndTop],
    queries: EvaluationQueries,
    num_items: int,
) -> EvaluationResult:
    """The metrics of all queries, ranked chunk by chunk."""
    parts = []
    for begin in range(0, len(queries), _QUERIES_AT_ONCE):
        end = min(begin + _QUERIES_AT_ONCE, len(queries))
        parts.append(ranks_and_top(queries.part(np.arange(begin, end))))
    ranks, top = (np.concatenate(column) for column in zip(*parts, strict=True))
    return evaluation_result(ranks, top, queries, num_items)


def ranks_by_scores(scores: sparse.csr_array, queries: EvaluationQueries, k: int) -> RanksAndTop:
    """(rank [M] of each target, best items [Q, k]) by scores [Q, V] that are not negative."""
    num_items = len(queries.item_counts)
    scores = _without(queries.seen, scores, num_items)
    ranks = _ranks_of_targets(scores, queries, num_items)
    top, _ = top_k_sparse(scores, k)
    filled = _filled(top, queries.seen, num_items)
    return _unranked_if_seen(ranks, queries, num_items), filled


def _ranks_of_targets(
    scores: sparse.csr_array, queries: EvaluationQueries, num_items: int
) -> np.ndarray:
    """Rank [M] of each target by scores [Q, V] of unseen items."""
    entries, rows = entries_of(scores), queries.targets.owners
    at = positions(queries.targets, entries, num_items)
    own = values_at(scores.data, at)

    # A target without a score ties with all others that have none.
    ranks = num_items - queries.seen.count_distinct(num_items)[rows]
    scored = own > 0
    bits, own_bits = order_bits(scores.data), order_bits(own[scored])
    ranks[scored] = _at_least(entries.owners, bits, rows[scored], own_bits)
    return ranks


def _without(seen: Pairs, scores: sparse.csr_array, num_items: int) -> sparse.csr_array:
    """Scores with 0 for what a query has seen."""
    is_seen = positions(entries_of(scores), seen, num_items) >= 0
    data = np.where(is_seen, 0, scores.data)
    return sparse.csr_array((data, scores.indices, scores.indptr), scores.shape)


def _at_least(
    rows: np.ndarray, values: np.ndarray, at_rows: np.ndarray, at_values: np.ndarray
) -> np.ndarray:
    """How many values [n] of the same row are at least as large as each of at_values [m].

    Values are integers, 0 to 2^31 - 1.
    """
    # Only what can be counted is sorted: few values are as large as the least of their row's.
    num_rows = 1 + max(rows.max(initial=0), at_rows.max(initial=0))
    least = np.full(num_rows, 1 << 31)
    np.minimum.at(least, at_rows, at_values)
    counted = values >= least[rows]
    keys = np.sort((rows[counted] << 31) + values[counted])
    begins = np.searchsorted(keys, (at_rows << 31) + at_values)
    ends = np.searchsorted(keys, (at_rows + 1) << 31)
    return ends - begins


def _unranked_if_seen(ranks: np.ndarray, queries: EvaluationQueries, num_items: int) -> np.ndarray:
    is_seen = positions(queries.targets, queries.seen, num_items) >= 0
    return np.where(is_seen, UNRANKED, ranks)


def _filled(top: np.ndarray, seen: Pairs, num_items: int) -> np.ndarray:
    """The lists [Q, k] with -1 replaced: by items without a score, the lowest numbers first, and
    where these are not enough by what was seen.
    """
    filled = top.copy()
    for row in np.flatnonzero((top < 0).any(axis=1)):
        listed = top[row][top[row] >= 0]
        seen_here = np.unique(seen.items[seen.offsets[row] : seen.offsets[row + 1]])
        excluded = np.concatenate([listed, seen_here])
        # Among so many items, enough are not excluded, unless the catalogue ends.
        lowest = np.arange(min(num_items, top.shape[1] + len(excluded)))
        unscored = np.setdiff1d(lowest, excluded)
        filled[row] = np.concatenate([listed, unscored, seen_here])[: top.shape[1]]
    return filled


def _best_unseen(best_first: np.ndarray, seen: Pairs, k: int) -> np.ndarray:
    """The first k [Q, k] of a list of all items [V] that each query has not seen, then seen ones
    in the same order.
    """
    longest = int(np.diff(seen.offsets).max(initial=0))
    num_queries = len(seen.offsets) - 1
    # Of so many, at least k are not seen, unless the catalogue ends.
    table = np.broadcast_to(
        best_first[: k + longest], (num_queries, min(k + longest, len(best_first)))
    )
    is_seen = positions(pairs_of(table), seen, len(best_first)).reshape(table.shape) >= 0
    unseen_first = np.argsort(is_seen, axis=1, kind="stable")
    return np.take_along_axis(table, unseen_first[:, :k], axis=1)
