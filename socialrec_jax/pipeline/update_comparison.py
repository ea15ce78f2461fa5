"""How an update compares models: each predicts new events that it has not learnt."""

from __future__ import annotations

import dataclasses

import numpy as np

from socialrec_jax.evaluation import metrics
from socialrec_jax.evaluation.prequential import evaluate_events, queries_before
from socialrec_jax.evaluation.protocol import EvaluationResult
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import Loaded, focus_of
from socialrec_jax.pipeline.ranker_update import RankerLesson, rows_free_of_order
from socialrec_jax.pipeline.update_inputs import Update
from socialrec_jax.runtime import processes

_EVALUATED_EVENTS = 10_000  # at most, of one batch of new events
_SHOWN = ("ndcg@10", "hr@10", "mrr@10")


def accuracy_on(update: Update, model: Loaded, rows: np.ndarray) -> dict | None:
    """What a model would have recommended just before each of these events; None without any."""
    config = update.old.config
    queries = queries_before(update.world, rows, focus_of(config, update.world))
    if not len(queries):
        return None
    # The same events for all models: the sample depends on the seed alone.
    queries = queries.sample(_EVALUATED_EVENTS, config.seed)
    return accuracy_of(evaluate_events(Engine.of_loaded(model), queries), config.seed)


def accuracy_of(result: EvaluationResult, seed: int) -> dict:
    """What the record of a generation says of an evaluation."""
    per_query = result.per_query["ndcg@10"]
    _, highest = metrics.bootstrap_interval(per_query, seed)
    shown = {name: result.metrics[name] for name in _SHOWN}
    return shown | {"ndcg@10 at most": highest, "events": len(per_query)}


def compare_models(update: Update, new: Loaded, ends: np.ndarray) -> dict | None:
    """Old and new model on the events after ends [U], which neither has learnt; None without any.

    All processes train; one of them compares.
    """
    held_out = update.behind(ends, update.growth.rows)

    def compare() -> dict | None:
        # The same counts for both: the models alone are compared.
        old = update.counted(update.old, ends)
        grown = dataclasses.replace(new, features=old.features)
        return _compare_on(update, held_out, "held out", old, grown)

    return processes.broadcast_from_main(compare)


def compare_rankers(update: Update, serving: Loaded, ends: np.ndarray) -> dict | None:
    """The ranker before and one that learnt again, with the retriever that serves, on the events
    after ends [U] that no ranker's order brought about; None where nothing was learnt or compared.
    """
    lesson = RankerLesson.of(update, ends)
    if lesson is None:
        return None
    params = lesson.learnt_in(update.run)
    free_rows = rows_free_of_order(update.run, update.world, update.growth)
    held_out = update.behind(ends, free_rows)

    def compare() -> dict | None:
        # The same retriever and counts for both: the rankers alone are compared.
        counted = update.counted(serving, ends)
        learnt = dataclasses.replace(counted, ranker=params)
        comparison = _compare_on(update, held_out, "ranker", counted, learnt)
        if comparison is None:
            print("ranker  kept: every held-out event was shown in a list in order", flush=True)
        return comparison

    return processes.broadcast_from_main(compare)


def _compare_on(
    update: Update, rows: np.ndarray, name: str, old: Loaded, new: Loaded
) -> dict | None:
    """The accuracy of two models on events, and whether the new one is better; None without any.

    name: what the line says is compared.
    """
    before, after = (accuracy_on(update, model, rows) for model in (old, new))
    if before is None or after is None:
        return None
    return compared(name, before, after)


def compared(name: str, old: dict, new: dict) -> dict:
    """The record of a comparison, and one line that says the same."""
    print(f"{name}  old {described(old)}  new {described(new)}", flush=True)
    return {"old": old, "new": new, "better": new["ndcg@10"] > old["ndcg@10"]}


def is_new_ranker(comparison: dict | None) -> bool:
    """Whether the ranker that learnt again serves."""
    return comparison is not None and comparison["better"]


def described(accuracy: dict) -> str:
    return f"ndcg@10 {accuracy['ndcg@10']:.4f} on {accuracy['events']:,} events"
