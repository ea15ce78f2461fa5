"""The evaluation stage: every model on both held-out parts, written to the report."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable

import numpy as np

from socialrec_jax import checksums
from socialrec_jax.config import Config
from socialrec_jax.data.as_of import AsOf
from socialrec_jax.data.features.next_type import NextTypeRegression
from socialrec_jax.data.query import Query, query_as_of
from socialrec_jax.data.world import BEFORE_VALIDATION, TEST, VALIDATION, World
from socialrec_jax.evaluation import metrics, next_type, protocol, segments
from socialrec_jax.evaluation.evaluator import evaluate_ranker, evaluate_retriever
from socialrec_jax.evaluation.protocol import EvaluationQueries, EvaluationResult
from socialrec_jax.evaluation.tuned_baselines import fit_tuned_baselines
from socialrec_jax.files import write_atomically
from socialrec_jax.inference.artefacts import features_folder, load_features, write_record
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import RETRIEVER, focus_of
from socialrec_jax.pipeline.ranker import TrainedRanker
from socialrec_jax.reports.run_report import write_report
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.environment import environment
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.runtime.timeline import timeline
from socialrec_jax.training.loop import StageProgress

_PARTS = {"validation": VALIDATION, "test": TEST}
_DATA_FACTS = ("event_types", "time_min", "time_max")
_INTERVAL_METRICS = ("hr@10", "ndcg@10")

QueriesByPart = dict[str, EvaluationQueries]  # by part
ResultsByPart = dict[str, dict[str, EvaluationResult]]  # by part and model


def evaluate(
    run: RunDirectory,
    engine: Engine,
    progress: StageProgress,
    ranker: TrainedRanker | None,
    baselines: Callable[[], ResultsByPart] | None = None,
) -> dict:
    """Evaluate the retriever, the ranker and the baselines on process 0, and write report.json and
    report.html. Returns the report.

    baselines: what calls `evaluate_baselines`, or waits for it where it was called before.
    """
    if baselines is None:
        baselines = functools.partial(evaluate_baselines, run, engine.world, engine.config)
    return processes.broadcast_from_main(
        lambda: _evaluate(run, engine, progress, ranker, baselines)
    )


@timeline.stage("evaluation")
def _evaluate(
    run: RunDirectory,
    engine: Engine,
    progress: StageProgress,
    ranker: TrainedRanker | None,
    baselines: Callable[[], ResultsByPart],
) -> dict:
    # ---- The engine as it serves: the retriever's own results do not depend on the ranker
    if ranker is not None:
        engine = engine.with_ranker(ranker.features, ranker.serving)

    # ---- Every model on the same queries
    queries = _held_out_queries(engine.world, engine.config)
    models, calibration = _model_results(engine, queries, ranker)
    with timeline.stage("baselines"):
        # The tables of the report have this order.
        results = {part: models[part] | of_part for part, of_part in baselines().items()}

    # ---- The report; docs/contracts.md says what each key holds
    regression = ranker and ranker.features.next_type
    report = (
        _data_and_settings(engine, queries)
        | {part: _metrics_by_model(results[part]) for part in _PARTS}
        | _test_details(engine, queries["test"], results["test"])
        | {
            "calibration": calibration,
            "next_event": _next_event(engine, regression),
            "train": _speed(progress),
            "environment": environment(),
        }
    )

    # ---- The files, before the refit: it may take long
    return _write(run, report)


def complete_report(run: RunDirectory, report: dict) -> dict:
    """Write the report again when all stages are done. Returns it with their time."""
    return processes.broadcast_from_main(lambda: _write(run, report))


@timeline.stage("report")
def _write(run: RunDirectory, report: dict) -> dict:
    """Write report.json and report.html with the time until now; returns the report."""
    report = report | {"timeline": timeline.to_json()}
    write_atomically(run.report, json.dumps(report, indent=1) + "\n")
    # The page is made from the files alone, so it can be made again.
    write_report(run.path)
    write_record(run)
    return report


def _held_out_queries(world: World, config: Config) -> QueriesByPart:
    focus = focus_of(config, world)
    held_out = {part: protocol.held_out(world, split, focus) for part, split in _PARTS.items()}
    num_users = config.evaluation.users
    return {
        part: queries.sample_of_users(num_users, config.seed) for part, queries in held_out.items()
    }


def _model_results(
    engine: Engine, queries: QueriesByPart, ranker: TrainedRanker | None
) -> tuple[ResultsByPart, dict]:
    """Results of the ranker and the retriever, and the ranker's calibration."""
    retriever = _retriever_results(engine, queries)
    ranked, calibration = _ranker_results(engine, queries, ranker)
    return {part: ranked[part] | retriever[part] for part in _PARTS}, calibration


def _data_and_settings(engine: Engine, queries: QueriesByPart) -> dict:
    manifest, config = engine.world.manifest, engine.config
    return {
        "data": manifest["counts"] | {name: manifest[name] for name in _DATA_FACTS},
        "split": config.split,
        "seed": config.seed,
        "targets": {part: _target_counts(q) for part, q in queries.items()},
    }


def _target_counts(queries: EvaluationQueries) -> dict[str, float]:
    return {
        "new": len(queries.target_rows),
        "seen_before": queries.dropped,
        "users": len(queries),
        "share_of_users": queries.share_of_users,
    }


def _metrics_by_model(results: dict[str, EvaluationResult]) -> dict[str, dict[str, float]]:
    return {name: result.metrics for name, result in results.items()}


def _retriever_results(engine: Engine, queries: QueriesByPart) -> ResultsByPart:
    results: ResultsByPart = {part: {} for part in _PARTS}
    for part in _PARTS:
        if len(queries[part]):  # a small shop may have nobody in a part
            result = evaluate_retriever(engine, queries[part])
            results[part]["retriever"] = result
    return results


def _ranker_results(
    engine: Engine, queries: QueriesByPart, ranker: TrainedRanker | None
) -> tuple[ResultsByPart, dict]:
    """Results, and the calibration on the test part. On the validation part, which the ranker
    learnt from, its results are those out of fold.
    """
    results: ResultsByPart = {part: {} for part in _PARTS}
    calibration = {}
    if ranker is not None:
        results["validation"]["ranker"] = ranker.out_of_fold
        if len(queries["test"]):
            result, calibration = evaluate_ranker(engine, queries["test"])
            results["test"]["ranker"] = result
    return results, calibration


def evaluate_baselines(run: RunDirectory, world: World, config: Config) -> ResultsByPart:
    """Results of the baselines; they need no trained model."""
    queries = _held_out_queries(world, config)
    results: ResultsByPart = {part: {} for part in _PARTS}
    for name, evaluate_baseline in _tuned_baselines(run, world, queries["validation"]).items():
        for part in _PARTS:
            if len(queries[part]):
                results[part][name] = evaluate_baseline(queries[part])
    return results


def _tuned_baselines(run: RunDirectory, world: World, validation: EvaluationQueries):
    # The ranker's features have a tuned item-kNN, so it need not be tuned again.
    folder = features_folder(run, refitted=False)
    has_features = (folder / checksums.MANIFEST).exists()
    item_knn = load_features(run, world, refitted=False).item_knn if has_features else None
    return fit_tuned_baselines(world, validation, item_knn)


def _test_details(
    engine: Engine, queries: EvaluationQueries, results: dict[str, EvaluationResult]
) -> dict:
    """95% intervals and segments of each model on the test part."""
    seed = engine.config.seed
    # The same queries in each segment, whichever the model.
    masks = segments.segments(engine.world, queries)
    return {
        "intervals": {name: _intervals(result, seed) for name, result in results.items()},
        "segments": {name: segments.by_segment(result, masks) for name, result in results.items()},
    }


def _intervals(result: EvaluationResult, seed: int) -> dict[str, tuple[float, float]]:
    return {
        metric: metrics.bootstrap_interval(result.per_query[metric], seed)
        for metric in _INTERVAL_METRICS
    }


def _next_event(engine: Engine, regression: NextTypeRegression | None) -> dict:
    """{part: {model or regression on counts: {event type: metrics}}} of the next event's type.

    regression: the one of the training part, where the ranker's features hold it.
    """
    world = engine.world
    num_types = len(world.event_types)
    if num_types == 1:
        return {}  # nothing to predict
    if regression is None:
        regression = NextTypeRegression.fit(
            world.events, world.history_ends(BEFORE_VALIDATION), num_types
        )
    return {part: _next_event_of_part(engine, regression, split) for part, split in _PARTS.items()}


def _next_event_of_part(engine: Engine, regression: NextTypeRegression, split: int) -> dict:
    world = engine.world
    users, rows = next_type.next_type_queries(world, split)
    config = engine.config
    chosen = protocol.sampled_users(users, config.evaluation.users, config.seed)
    users, rows = users[chosen], rows[chosen]
    types = world.events.types[rows]
    query = _query_before_events(engine, users, rows, split)

    # Counts alone are the baseline of the model's predictions.
    predictions = {
        "model": engine.next_actions(engine.states(query), query),
        "regression on counts": regression.probabilities(query),
    }
    return {
        name: next_type.evaluate(probabilities, types, world.event_types)
        for name, probabilities in predictions.items()
    }


def _query_before_events(engine: Engine, users: np.ndarray, rows: np.ndarray, split: int) -> Query:
    """Users [Q] just before the events in rows [Q], the first ones of a held-out part."""
    query = query_as_of(engine.world, users, AsOf.before(split))
    # Only models that see the request time read it.
    request_times = engine.world.events.times[rows]
    return engine.with_friends(dataclasses.replace(query, request_times=request_times))


def _speed(progress: StageProgress) -> dict:
    """What training cost: seconds without compilation, validation and saving."""
    # The first call compiles: a training of one call has no seconds.
    events_per_second = progress.events / max(progress.seconds, 1e-9)
    return {
        "stage": RETRIEVER,
        "seconds": round(progress.seconds, 2),
        "compile_seconds": round(progress.compile_seconds, 2),
        "trained_events_per_second": round(events_per_second),
        "steps": progress.steps,
        "best_step": progress.best_step,
    }
