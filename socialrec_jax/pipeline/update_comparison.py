"""How an update compares models: each predicts new events that it has not learnt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.growth import Growth
from socialrec_jax.data.world import BEFORE_VALIDATION, World
from socialrec_jax.evaluation import metrics
from socialrec_jax.evaluation.prequential import evaluate_events, queries_before
from socialrec_jax.evaluation.protocol import EvaluationResult
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.grow import grow, with_counts
from socialrec_jax.inference.load import Loaded, focus_of, load_run
from socialrec_jax.pipeline.ranker_update import Grown, RankerLesson, rows_free_of_order
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import RunDirectory

_EVALUATED_EVENTS = 10_000  # at most, of one batch of new events
_SHOWN = ("ndcg@10", "hr@10", "mrr@10")


@dataclasses.dataclass(frozen=True)
class Update:
    """What an update works with."""

    run: RunDirectory  # of the generation that is being made
    number: int
    parent: Path  # folder of the generation whose model is updated
    growth: Growth
    unlearnt: np.ndarray  # [n] rows that the model that serves has not learnt, rising
    learnt: int  # the generation whose events it has learnt
    old: Loaded  # the model that serves, grown
    settings: ItemKNNSettings | None  # of the ranker's features, None without ranker

    @property
    def world(self) -> World:
        return self.old.world


def with_counts_before(update: Update, ends: np.ndarray) -> Loaded:
    """The model before, with counts of the events before ends [U]."""
    return with_counts(update.old, update.settings, ends, update.growth.known_items)


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
    held_out = _held_out(update, update.growth.rows, ends)

    def compare() -> dict | None:
        # The same counts for both: the models alone are compared.
        old = with_counts_before(update, ends)
        grown = dataclasses.replace(new, features=old.features)
        return _compare_on(update, held_out, "held out", old, grown)

    return processes.broadcast_from_main(compare)


def compare_rankers(update: Update, serving: Loaded, ends: np.ndarray) -> dict | None:
    """The ranker before and one that learnt again, with the retriever that serves, on the events
    after ends [U] that no ranker's order brought about; None where nothing was learnt or compared.
    """
    lesson = ranker_lesson(update, ends)
    if lesson is None:
        return None
    params = lesson.learnt_in(update.run)
    free_rows = rows_free_of_order(update.run, update.world, update.growth)
    held_out = _held_out(update, free_rows, ends)

    def compare() -> dict | None:
        # The same retriever and counts for both: the rankers alone are compared.
        counted = Grown(serving, update.settings, update.growth.known_items).counted(ends)
        learnt = dataclasses.replace(counted, ranker=params)
        comparison = _compare_on(update, held_out, "ranker", counted, learnt)
        if comparison is None:
            print("ranker  kept: every held-out event was shown in a list in order", flush=True)
        return comparison

    return processes.broadcast_from_main(compare)


def _held_out(update: Update, rows: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Those of the rows [n] that no model has learnt: after ends [U]."""
    return rows[rows >= ends[update.world.events.owners[rows]]]


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


def ranker_lesson(update: Update, ends: np.ndarray) -> RankerLesson | None:
    """What the ranker learns again from where lists came back; None without."""
    evaluated = Grown(evaluated_model(update), update.settings, update.growth.known_items)
    return RankerLesson.of(update.run, evaluated, ends)


def is_new_ranker(comparison: dict | None) -> bool:
    """Whether the ranker that learnt again serves."""
    return comparison is not None and comparison["better"]


def evaluated_model(update: Update) -> Loaded:
    """The model of the first training, grown: it has learnt the training part alone."""
    first = load_run(update.parent, refitted=False)
    return grow(first, update.world, update.old.texts, BEFORE_VALIDATION)


def described(accuracy: dict) -> str:
    return f"ndcg@10 {accuracy['ndcg@10']:.4f} on {accuracy['events']:,} events"
