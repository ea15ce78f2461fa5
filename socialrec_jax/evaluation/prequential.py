"""Prequential evaluation: each new event is predicted from what came before it, then learnt.

(Dawid 1984; for streams of events Gama et al. 2013.) The protocol is that of `protocol`: the whole
catalogue, items of the history masked, ties against the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.csr import Pairs
from socialrec_jax.data.query import Query
from socialrec_jax.data.world import TRAIN, Events, World
from socialrec_jax.evaluation.evaluator import evaluate_ranker, evaluate_retriever
from socialrec_jax.evaluation.protocol import EvaluationQueries, EvaluationResult
from socialrec_jax.inference.engine import Engine


def queries_before(world: World, rows: np.ndarray, focus: Sequence[int] = ()) -> EvaluationQueries:
    """A query just before each event in rows [n] whose item is new to its user.

    Own events before the row are visible, also those of the same second. Of friends, what is
    strictly older is. With a focus, only events of these types are targets.
    """
    events = world.events
    if focus:
        rows = rows[np.isin(events.types[rows], focus)]
    # Items of the history are masked, so a repeated one could not be found.
    is_new = _is_first_of_item(events, world.num_items)[rows]
    targets = rows[is_new]
    users = events.owners[targets].astype(np.int64)
    times = np.asarray(events.times[targets])
    query = Query(events, users, history_ends=targets, query_times=times, request_times=times)
    return EvaluationQueries(
        query=query,
        seen=events.histories(users, targets),
        targets=Pairs(np.arange(len(targets) + 1), np.asarray(events.items[targets])),
        target_rows=targets,
        dropped=int((~is_new).sum()),
        item_counts=_training_counts(world),
    )


def _training_counts(world: World) -> np.ndarray:
    items = world.events.items[world.event_splits == TRAIN]
    return np.bincount(items, minlength=world.num_items)


def _is_first_of_item(events: Events, num_items: int) -> np.ndarray:
    """Which events [N] bool are the first of their user with their item."""
    # 64 bits, because users times items can exceed 32.
    keys = events.owners.astype(np.int64) * num_items + events.items
    first = np.zeros(len(keys), bool)
    # return_index gives the first row, and the rows of a user are in the order of time.
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def evaluate_events(engine: Engine, queries: EvaluationQueries) -> EvaluationResult:
    """The ranking that the engine serves: the ranker's where there is one, else the retriever's.

    Users without history get what was popular before the first of the events.
    """
    # Not as of now: what the new events made popular would leak into their prediction.
    popular = AsOf.time(int(queries.query.query_times.min()))
    if engine.reranker is None:
        return evaluate_retriever(engine, queries, popular)
    return evaluate_ranker(engine, queries, popular)[0]
