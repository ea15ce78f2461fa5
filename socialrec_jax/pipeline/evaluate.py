"""The evaluation stage: every model on both held-out parts, written to the report."""

from __future__ import annotations

import dataclasses
import json

from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.features.next_type import NextTypeRegression
from socialrec_jax.data.query import query_as_of
from socialrec_jax.data.world import BEFORE_VALIDATION, TEST, VALIDATION, World
from socialrec_jax.evaluation import metrics, next_type, protocol, segments
from socialrec_jax.evaluation.tuned_baselines import fit_tuned_baselines
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import RETRIEVER, focus_of
from socialrec_jax.pipeline.ranker import TrainedRanker, evaluate_ranker
from socialrec_jax.pipeline.retriever import evaluate_retriever
from socialrec_jax.reports.run_report import write_report
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.environment import environment
from socialrec_jax.runtime.run import RunDirectory, write_atomically
from socialrec_jax.training.loop import StageProgress

_DATA_FACTS = ("event_types", "time_min", "time_max")


def evaluate(
    run: RunDirectory,
    engine: Engine,
    progress: StageProgress,
    ranker: TrainedRanker | None,
) -> dict:
    """Judge everything, by process 0: see `_evaluate`."""
    return processes.broadcast_from_main(lambda: _evaluate(run, engine, progress, ranker))


def _evaluate(
    run: RunDirectory,
    engine: Engine,
    progress: StageProgress,
    ranker: TrainedRanker | None,
) -> dict:
    """Judge retriever, ranker and every baseline on both parts, and write report.json and
    report.html.
    """
    world, config = engine.world, engine.config
    evaluated: dict[str, dict[str, protocol.EvaluationResult]] = {"validation": {}, "test": {}}
    focus = focus_of(config, world)
    queries = {
        "validation": protocol.held_out(world, VALIDATION, focus),
        "test": protocol.held_out(world, TEST, focus),
    }
    for part in queries:
        if len(queries[part]):
            evaluated[part] = {"retriever": evaluate_retriever(engine, queries[part])}
    calibration = {}
    if ranker is not None:
        engine = engine.with_ranker(ranker.features, ranker.serving)
        evaluated["validation"] = {"ranker": ranker.out_of_fold} | evaluated["validation"]
        if len(queries["test"]):
            evaluation_result, calibration = evaluate_ranker(engine, queries["test"])
            evaluated["test"] = {"ranker": evaluation_result} | evaluated["test"]
    for name, evaluate in fit_tuned_baselines(
        world, queries["validation"], ranker and ranker.features.item_knn
    ).items():
        for part in evaluated:
            if len(queries[part]):
                evaluated[part][name] = evaluate(queries[part])
    report = {
        "data": world.manifest["counts"] | {name: world.manifest[name] for name in _DATA_FACTS},
        "split": config.split,
        "seed": config.seed,
        "targets": {
            part: {"new": len(q.target_rows), "seen_before": q.dropped}
            for part, q in queries.items()
        },
        **{
            part: {name: evaluation_result.metrics for name, evaluation_result in models.items()}
            for part, models in evaluated.items()
        },
        **_closer_look(world, queries["test"], evaluated["test"], config.seed),
        "calibration": calibration,
        "next_event": _next_event(engine, ranker and ranker.features.next_type),
        "train": _speed(progress),
        "environment": environment(),
    }
    write_atomically(run.report, json.dumps(report, indent=1) + "\n")
    write_report(run.path)
    return report


def _closer_look(
    world: World,
    queries: protocol.EvaluationQueries,
    evaluated: dict[str, protocol.EvaluationResult],
    seed: int,
) -> dict:
    """95% intervals and segments of each model."""
    masks = segments.segments(world, queries)
    intervals = {
        name: {
            m: metrics.bootstrap_interval(evaluation_result.per_query[m], seed)
            for m in ("hr@10", "ndcg@10")
        }
        for name, evaluation_result in evaluated.items()
    }
    return {
        "intervals": intervals,
        "segments": {n: segments.by_segment(j, masks) for n, j in evaluated.items()},
    }


def _next_event(engine: Engine, counted: NextTypeRegression | None) -> dict:
    """Per part and event type: how well the next event's type is foretold, beside a regression on
    counts.

    counted: the one of the training part, where the ranker's signals hold it.
    """
    world = engine.world
    if len(world.event_types) == 1:
        return {}
    regression = counted or NextTypeRegression.fit(
        world.events, world.history_ends(BEFORE_VALIDATION), len(world.event_types)
    )
    found = {}
    for part, number in (("validation", VALIDATION), ("test", TEST)):
        users, rows = next_type.next_type_queries(world, number)
        types = world.events.types[rows]
        query = query_as_of(world, users, AsOf.before(number))
        query = dataclasses.replace(query, request_times=world.events.times[rows])
        query = engine.with_friends(query)
        ways = {
            "model": engine.next_actions(engine.states(query), query),
            "regression on counts": regression.probabilities(world.events, users, rows),
        }
        found[part] = {
            name: next_type.evaluate(probabilities, types, world.event_types)
            for name, probabilities in ways.items()
        }
    return found


def _speed(progress: StageProgress) -> dict:
    """What training cost: seconds without compilation, validation and saving."""
    return {
        "stage": RETRIEVER,
        "seconds": round(progress.seconds, 2),
        "compile_seconds": round(progress.compile_seconds, 2),
        "trained_events_per_second": round(progress.events / max(progress.seconds, 1e-9)),
        "steps": progress.steps,
        "best_step": progress.best_step,
    }
