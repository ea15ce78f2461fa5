"""The protocol: users with held-out events, the whole catalogue, the same index that serves.

All of these users are evaluated, or a random sample where they are very many.

Items of the user's history are masked, and targets among them are dropped and counted: what is
predicted is the next *new* item. Ties count against the model. See docs/model.md for the protocol
and its reasons.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from socialrec_jax.data import counter_rng
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.csr import Pairs, is_among, ranges
from socialrec_jax.data.query import Query, query_as_of
from socialrec_jax.data.world import BEFORE_TEST, NOW, TRAIN, VALIDATION, World
from socialrec_jax.evaluation import metrics
from socialrec_jax.inference.chunks import Rows
from socialrec_jax.inference.index import Index

CUTOFFS = (10, 20)


@dataclasses.dataclass(frozen=True)
class EvaluationQueries:
    """Q users just before a held-out part of their events, and the new items of that part.

    The query's request times are those of the first targets; friends are not known yet
    (`Engine.with_friends`).
    """

    query: Query
    seen: Pairs
    targets: Pairs  # M new items of the held-out part
    target_rows: np.ndarray  # [M] int64, the event of each target
    dropped: int  # held-out events whose item was in the user's history
    item_counts: np.ndarray  # [V] training events of each item
    share_of_users: float = 1.0  # these are, of all users with new items in the held-out part

    def __len__(self) -> int:
        return len(self.query)

    @property
    def users(self) -> np.ndarray:
        return self.query.users

    def part(self, chosen: np.ndarray) -> EvaluationQueries:
        """The chosen queries alone."""
        return dataclasses.replace(
            self,
            query=self.query.part(chosen),
            seen=self.seen.of(chosen),
            targets=self.targets.of(chosen),
            target_rows=self.target_rows[self.targets.rows_of(chosen)],
        )

    def without_history(self) -> EvaluationQueries:
        """The same queries without any visible event."""
        lengths = np.diff(self.seen.offsets)
        query = dataclasses.replace(self.query, history_ends=self.query.history_ends - lengths)
        none = Pairs(np.zeros_like(self.seen.offsets), self.seen.items[:0])
        return dataclasses.replace(self, query=query, seen=none)

    def sample(self, size: int, seed: int) -> EvaluationQueries:
        """At most `size` random queries, in their order."""
        if size >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), size, replace=False)
        return self.part(np.sort(chosen))

    def sample_of_users(self, size: int, seed: int) -> EvaluationQueries:
        """At most `size` queries, those of `sampled_users`, in their order."""
        if size >= len(self):
            return self
        part = self.part(sampled_users(self.users, size, seed))
        share_of_users = self.share_of_users * size / len(self)
        return dataclasses.replace(part, share_of_users=share_of_users)


def sampled_users(users: np.ndarray, size: int, seed: int) -> np.ndarray:
    """The positions, ascending, of at most `size` random users among these [Q].

    Each user has a random number of its own, and the lowest are chosen. So a smaller sample is part
    of a larger one, and other users change a sample only where they enter it.
    """
    if size >= len(users):
        return np.arange(len(users))
    lowest = np.argpartition(counter_rng.uniform(seed, users), size)[:size]
    return np.sort(lowest)


def held_out(world: World, part: int, focus: Sequence[int] = ()) -> EvaluationQueries:
    """The queries of VALIDATION or TEST; with a focus, only events of these types are targets.

    Several stages of a run need them, and they are found once.
    """
    key = ("held out", part, tuple(focus))
    if key not in world.derived:
        world.derived[key] = _held_out(world, part, focus)
    return world.derived[key]


def _held_out(world: World, part: int, focus: Sequence[int]) -> EvaluationQueries:
    events, as_of = world.events, AsOf.before(part)
    users, rows = _held_out_events(world, part)
    if focus:
        in_focus = np.isin(events.types[rows], focus)
        users, rows = users[in_focus], rows[in_focus]
    is_new = _first_of_each_item(world, users, rows) & ~_in_history(world, as_of, users, rows)
    users, rows = users[is_new], rows[is_new]
    evaluated, counts = np.unique(users, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    query = query_as_of(world, evaluated, as_of)
    return EvaluationQueries(
        query=dataclasses.replace(query, request_times=events.times[rows[offsets[:-1]]]),
        seen=events.histories(evaluated, query.history_ends),
        targets=Pairs(offsets, np.asarray(events.items[rows])),
        target_rows=rows,
        dropped=int((~is_new).sum()),
        item_counts=_training_counts(world),
    )


def _training_counts(world: World) -> np.ndarray:
    """Training events of each item [V]."""
    items = world.events.items[world.event_splits == TRAIN]
    return np.bincount(items, minlength=world.num_items)


def _held_out_events(world: World, part: int) -> tuple[np.ndarray, np.ndarray]:
    """(user [n], row [n]) of each event of a part of the split."""
    starts = world.history_ends(AsOf.before(part))
    stops = world.history_ends(BEFORE_TEST if part == VALIDATION else NOW)
    lengths = stops - starts
    return np.repeat(np.arange(world.num_users), lengths), ranges(starts, lengths)


def _first_of_each_item(world: World, users: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """True where a user has the event's item for the first time among these events [n]."""
    keys = users * world.num_items + world.events.items[rows]
    first = np.zeros(len(users), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def _in_history(world: World, as_of: AsOf, users: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """True where the event's item is in its user's history as of a time [n]."""
    V, evaluated = world.num_items, np.unique(users)
    history = world.events.histories(evaluated, world.history_ends(as_of)[evaluated])
    owners = np.repeat(evaluated, np.diff(history.offsets))
    keys = users * V + world.events.items[rows]
    return is_among(keys, np.sort(owners * V + history.items))


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """One ranking of the queries' targets."""

    metrics: dict[str, float]
    per_query: dict[str, np.ndarray]
    ranks: np.ndarray  # [M]


def evaluate(
    index: Index, shared, query_vectors: Rows, queries: EvaluationQueries
) -> EvaluationResult:
    """Rank every target of queries; query_vectors [Q, ...] and shared are what index scores
    with.
    """
    k = min(max(CUTOFFS), index.num_items)
    ranks, top = index.ranks(shared, query_vectors, queries.seen, queries.targets, k)
    return evaluation_result(ranks, top, queries, index.num_items)


def evaluation_result(
    ranks: np.ndarray, top: np.ndarray, queries: EvaluationQueries, num_items: int
) -> EvaluationResult:
    """Metrics of ranks [M] and top items [Q, k]."""
    per_query = metrics.per_query(ranks, queries.targets.offsets, CUTOFFS)
    coverage = {f"coverage@{k}": metrics.coverage(top[:, :k], num_items) for k in CUTOFFS}
    beyond = coverage | {"novelty@10": metrics.novelty(top[:, :10], queries.item_counts)}
    return EvaluationResult(metrics.summarise(per_query) | beyond, per_query, ranks)
