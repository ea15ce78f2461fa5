"""Evaluators: what the training loop and the report call to get metrics.

An evaluator knows its queries and how to rank their items. `run(params)` gives the metrics of
parameters, so that the loop needs to know neither the World nor the search.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.evaluation import calibration, candidate_lists, protocol
from socialrec_jax.evaluation.out_of_fold import OutOfFoldScorer
from socialrec_jax.evaluation.protocol import EvaluationQueries, EvaluationResult
from socialrec_jax.inference.candidates import CandidateRequest
from socialrec_jax.inference.engine import Engine

_CALIBRATION_QUERIES = 20_000  # whose candidates make the reliability curves


@dataclasses.dataclass(frozen=True)
class RetrieverEvaluator:
    """The retriever on one held-out part: exact search over the whole catalogue."""

    engine_of: Callable[[dict], Engine]  # of the model's parameters
    queries: EvaluationQueries

    def run(self, params: dict) -> dict[str, float]:
        """Metrics of these parameters of the model."""
        return evaluate_retriever(self.engine_of(params), self.queries).metrics


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
    engine: Engine, queries: EvaluationQueries, popular_as_of: AsOf | None = None
) -> EvaluationResult:
    """The retriever's ranking of the held-out items.

    popular_as_of: when that was popular which users without history get; by default as of the
    query.
    """
    query = engine.with_friends(queries.query)
    inputs = engine.index_inputs(popular_as_of or query.as_of)
    return protocol.evaluate(engine.index, inputs, engine.states(query), queries)


def evaluate_ranker(
    engine: Engine, queries: EvaluationQueries, popular_as_of: AsOf | None = None
) -> tuple[EvaluationResult, dict[str, calibration.Curve]]:
    """The ranker's order of the candidates of a held-out part, and {event type: reliability of its
    probabilities}.

    popular_as_of: as in `evaluate_retriever`. Works in chunks, so that memory does not grow with
    candidates x users.
    """
    world = engine.world
    query = engine.with_friends(queries.query)
    inputs = engine.index_inputs(popular_as_of or query.as_of)
    request = CandidateRequest(inputs, engine.states(query), query, queries.seen)
    ranks, top_items, predictions = [], [], []
    done = 0

    for lists in engine.ranked(request):
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
