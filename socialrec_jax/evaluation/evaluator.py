"""Evaluators: what the training loop and the report call to get metrics.

An evaluator knows its queries and how to rank their items. `run(params)` gives the metrics of
parameters, so that the loop needs to know neither the World nor the search.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.evaluation import calibration, candidate_lists, protocol
from socialrec_jax.evaluation.out_of_fold import OutOfFoldScorer
from socialrec_jax.evaluation.protocol import EvaluationQueries, EvaluationResult
from socialrec_jax.inference.engine import Recommender

_CALIBRATION_QUERIES = 20_000  # whose candidates make the reliability curves


@dataclasses.dataclass(frozen=True)
class RetrieverEvaluator:
    """The retriever on one held-out part: exact search over the whole catalogue."""

    recommender: Recommender
    known: np.ndarray  # [V] bool, items whose ids are learnt
    queries: EvaluationQueries
    part: int  # VALIDATION or TEST

    def run(self, params: dict) -> dict[str, float]:
        """Metrics of these parameters of the model."""
        # What is compiled stays; only the parameters are new.
        recommender = self.recommender.use(params, self.known)
        return evaluate_retriever(recommender, self.queries, self.part).metrics


@dataclasses.dataclass(frozen=True)
class RankerEvaluator:
    """The rankers that are trained side by side, on the candidates of the validation part, each
    user by a ranker that did not learn from them.
    """

    scorer: OutOfFoldScorer
    queries: EvaluationQueries
    num_items: int

    def run(self, params: dict) -> dict[str, float]:
        """Metrics of these parameters [M, ...] of all rankers."""
        return self.evaluate(params).metrics

    def evaluate(self, params: dict) -> EvaluationResult:
        """Metrics with their values a query."""
        items = np.asarray(self.scorer.candidates.items)
        scores = self.scorer(params)
        return candidate_lists.evaluate_unsorted(items, scores, self.queries, self.num_items)


def evaluate_retriever(
    recommender: Recommender, queries: EvaluationQueries, part: int
) -> EvaluationResult:
    """The retriever's ranking of the held-out items."""
    states, _ = query_states(recommender, queries, part)
    return protocol.evaluate(recommender.index, recommender.shared(part), states, queries)


def evaluate_ranker(
    recommender: Recommender, queries: EvaluationQueries, part: int
) -> tuple[EvaluationResult, dict[str, calibration.Curve]]:
    """The ranker's order of the candidates of a held-out part, and {event type: reliability of its
    probabilities}.

    Works in chunks, so that memory does not grow with candidates x users.
    """
    world = recommender.world
    states, query = query_states(recommender, queries, part)
    ranks, top_items, predictions = [], [], []
    done = 0

    for lists in recommender.ranked(recommender.shared(part), states, query, queries.seen):
        chunk = queries.part(np.arange(done, done + len(lists.items)))
        done += len(chunk)
        ranks.append(candidate_lists.ranks_in_lists(lists.items, lists.scores, chunk))
        top_items.append(lists.items[:, : max(protocol.CUTOFFS)])
        # The first chunk counts whatever its size.
        if done <= _CALIBRATION_QUERIES or not predictions:
            predictions.append(calibration.predictions_and_labels(world, lists, chunk))

    result = protocol.evaluation_result(
        np.concatenate(ranks), np.concatenate(top_items), queries, world.num_items
    )
    return result, calibration.reliability_by_type(predictions, world.event_types)


def query_states(recommender: Recommender, queries: protocol.EvaluationQueries, part: int):
    """The users' states [Q, D] and queries as they stood before a held-out part."""
    events = recommender.world.events
    query = events.times[
        queries.target_rows[queries.targets.offsets[:-1]]
    ]  # seen by models with request_time only
    query_times = query if recommender.config.model.request_time else queries.query_times
    states = recommender.states(
        events, queries.users, queries.history_ends, query, query_times=query_times, as_of=part
    )
    return states, recommender.query(events, queries.users, queries.history_ends, query_times, part)
