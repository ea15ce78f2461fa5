"""How accuracy is judged: every user with held-out events, the whole catalogue, the same index that
serves.

Items of the user's history are masked, and targets among them dropped and counted: the question is
the next *new* item. Ties count against us. See docs/model.md for the protocol and its reasons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from socialrec_jax.data.csr import Pairs, ranges
from socialrec_jax.data.world import NOW, TEST, TRAIN, VALIDATION, World
from socialrec_jax.evaluation import metrics
from socialrec_jax.inference.index import Index, dense_index, shared_index
from socialrec_jax.runtime import parallel

CUTOFFS = (10, 20)


@dataclasses.dataclass(frozen=True)
class EvaluationQueries:
    """Q users as they stood before a held-out part of their events."""

    users: np.ndarray  # [Q] int64
    history_ends: np.ndarray  # [Q] int64, exclusive row into the World's events
    query_times: (
        np.ndarray
    )  # [Q] int64, unix seconds: of friends, only what is strictly older may be known
    seen: Pairs
    targets: Pairs  # M new items of the held-out part
    target_rows: np.ndarray  # [M] int64, the event of each target
    dropped: int  # held-out events whose item the user had before
    item_counts: np.ndarray  # [V] training events of each item

    def __len__(self) -> int:
        return len(self.users)

    def part(self, chosen: np.ndarray) -> EvaluationQueries:
        """The chosen queries alone."""
        rows = self.targets.rows_of(chosen)
        return dataclasses.replace(
            self,
            users=self.users[chosen],
            history_ends=self.history_ends[chosen],
            query_times=self.query_times[chosen],
            seen=self.seen.of(chosen),
            targets=self.targets.of(chosen),
            target_rows=self.target_rows[rows],
        )

    def without_history(self) -> EvaluationQueries:
        """The same questions from users of whom nothing is known."""
        none = Pairs(np.zeros_like(self.seen.offsets), self.seen.items[:0])
        return dataclasses.replace(
            self, history_ends=self.history_ends - np.diff(self.seen.offsets), seen=none
        )

    def sample(self, size: int, seed: int) -> EvaluationQueries:
        """At most `size` random queries, in their order."""
        if size >= len(self):
            return self
        return self.part(
            np.sort(np.random.default_rng(seed).choice(len(self), size, replace=False))
        )


def held_out(world: World, part: int, focus: Sequence[int] = ()) -> EvaluationQueries:
    """The queries of VALIDATION or TEST; with a focus, only events of these types are targets."""
    events = world.events
    begins, stops = (
        world.history_ends(part),
        world.history_ends(TEST if part == VALIDATION else NOW),
    )
    lengths = stops - begins
    users = np.repeat(np.arange(world.num_users), lengths)
    rows = ranges(begins, lengths)
    if focus:
        paying = np.isin(events.types[rows], focus)
        users, rows = users[paying], rows[paying]
    is_new = _first_of_each(users, events.items[rows], world.num_items) & ~_seen_before(
        world, begins, users, rows
    )
    users, rows = users[is_new], rows[is_new]
    evaluated, counts = np.unique(users, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return EvaluationQueries(
        users=evaluated,
        history_ends=begins[evaluated],
        query_times=world.query_times(part)[evaluated],
        seen=events.histories(evaluated, begins[evaluated]),
        targets=Pairs(offsets, np.asarray(events.items[rows])),
        target_rows=rows,
        dropped=int((~is_new).sum()),
        item_counts=np.bincount(
            events.items[world.event_splits == TRAIN], minlength=world.num_items
        ),
    )


def _first_of_each(users: np.ndarray, items: np.ndarray, num_items: int) -> np.ndarray:
    """True where a (user, item) pair occurs for the first time."""
    first = np.zeros(len(users), bool)
    first[np.unique(users * num_items + items, return_index=True)[1]] = True
    return first


def _seen_before(
    world: World, begins: np.ndarray, users: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """True where the event's item stands in its user's history before `begins`."""
    evaluated = np.unique(users)
    history = world.events.histories(evaluated, begins[evaluated])
    owners = np.repeat(evaluated, np.diff(history.offsets))
    return np.isin(
        users * world.num_items + world.events.items[rows], owners * world.num_items + history.items
    )


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """One ranking of the queries' targets."""

    metrics: dict[str, float]
    per_query: dict[str, np.ndarray]
    ranks: np.ndarray  # [M]


def evaluate(
    index: Index, shared, query_vectors: np.ndarray, queries: EvaluationQueries
) -> EvaluationResult:
    """Rank every target of queries; query_vectors [Q, ...] and shared are what index scores
    with.
    """
    k = min(max(CUTOFFS), index.num_items)
    ranks, top = index.ranks(shared, query_vectors, queries.seen, queries.targets, k)
    return evaluation_result(ranks, top, queries, index.num_items)


def evaluate_scorer(
    scores: Callable[[EvaluationQueries], np.ndarray], queries: EvaluationQueries, num_items: int
) -> EvaluationResult:
    """Rank by scores(some queries [q]) -> [q, V], chunk by chunk."""
    index, k = dense_index(num_items), min(max(CUTOFFS), num_items)
    parts = []
    for begin in range(0, len(queries), index.queries_per_call):
        part = queries.part(np.arange(begin, min(begin + index.queries_per_call, len(queries))))
        parts.append(index.ranks(None, scores(part), part.seen, part.targets, k))
    ranks, top = (np.concatenate(column) for column in zip(*parts, strict=True))
    return evaluation_result(ranks, top, queries, num_items)


def evaluate_popularity(popularity: np.ndarray, queries: EvaluationQueries) -> EvaluationResult:
    """Rank by one list of scores [V] for everybody."""
    index = shared_index(len(popularity))
    return evaluate(
        index, parallel.replicate(popularity), np.zeros((len(queries), 1), np.float32), queries
    )


def evaluation_result(
    ranks: np.ndarray, top: np.ndarray, queries: EvaluationQueries, num_items: int
) -> EvaluationResult:
    """Metrics of ranks [M] and top items [Q, k]."""
    per_query = metrics.per_query(ranks, queries.targets.offsets, CUTOFFS)
    coverage = {f"coverage@{k}": metrics.coverage(top[:, :k], num_items) for k in CUTOFFS}
    beyond = coverage | {"novelty@10": metrics.novelty(top[:, :10], queries.item_counts)}
    return EvaluationResult(metrics.summarise(per_query) | beyond, per_query, ranks)
