"""The stages of a run in their order; the only library file that sees every room.

train.py tells the same story to a reader, and a notebook can call these functions alike.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from socialrec_jax.config import Config, check, from_json, to_json
from socialrec_jax.data.features.next_type import CountRegression
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import TEST, VALIDATION, World
from socialrec_jax.errors import InputMissing, UsageError
from socialrec_jax.evaluation import metrics, next_type, protocol, segments
from socialrec_jax.evaluation.tuned_baselines import fit_rivals
from socialrec_jax.inference.engine import Recommender
from socialrec_jax.inference.load import RETRIEVER, focus_of, knows_friends, model_for
from socialrec_jax.pipeline import stages
from socialrec_jax.reports.run_report import write_report
from socialrec_jax.runtime import parallel, processes
from socialrec_jax.runtime.environment import environment
from socialrec_jax.runtime.run import RunDirectory, write_atomically
from socialrec_jax.training import device_data, local_vocabulary
from socialrec_jax.training.auto_config import resolve
from socialrec_jax.training.loop import Standing

_SHOWN = (
    "hr@10",
    "ndcg@10",
    "f1@10",
    "mrr@10",
    "coverage@10",
)  # on the terminal; the report has them all
_DATA_FACTS = ("event_types", "time_min", "time_max")


def prepared(run: RunDirectory, source: Path | None, config: Config) -> tuple[World, Config]:
    """The run's World, and its configuration resolved against it. Process 0 makes both; see the functions below.

    source None: what the run stands on, or the embedded sample shop for a new run.
    """

    def prepare_run() -> str:
        settled = settle_config(run, config)
        tables = sample_tables(run, settled.seed) if source is None and not run.exists else source
        world = open_world(run, tables, settled)
        resolved = resolve_config(run, settled, world)
        describe(world, resolved)
        return to_json(resolved)

    resolved = from_json(processes.first_says(prepare_run))
    return World.open(run.world), resolved


def settle_config(run: RunDirectory, config: Config) -> Config:
    """The configuration, checked. Raises UsageError when it is out of range, or not the one of an existing run."""
    check(config)
    if run.exists and (differing := _difference(run.config(), config)):
        raise UsageError(
            f"{run.path} was started with {differing}: leave the option out, or choose another --run"
        )
    return config


def _difference(kept: Config, asked: Config) -> str | None:
    """The first setting that differs, as the run has it and as it was asked for."""
    ours, theirs = _flat(dataclasses.asdict(kept)), _flat(dataclasses.asdict(asked))
    wrong = next((key for key, value in theirs.items() if value != ours[key]), None)
    return wrong and f"--{wrong.replace('_', '-')} {ours[wrong]}, not {theirs[wrong]}"


def _flat(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def sample_tables(run: RunDirectory, seed: int) -> Path:
    """The embedded synthetic shop, written once into the run directory."""
    folder = run.path / "sample"
    if not (folder / "users.parquet").exists():
        write_tables(folder, seed=seed)
    return folder


def open_world(run: RunDirectory, source: Path | None, config: Config) -> World:
    """Prepare source into the run, or open what stands there when source is None.

    Raises BadData when the run stands on other data, InputMissing when there is nothing to open.
    """
    if source is None:
        if not (run.world / "manifest.json").exists():
            raise InputMissing(f"{run.path} holds no prepared data: say which with --data DIR")
        return World.open(run.world)
    return prepare(source, run.world, config.data, config.split, replace=not run.exists)


def resolve_config(run: RunDirectory, config: Config, world: World) -> Config:
    """Fill in what follows from the data and write it down. Raises UsageError when the two do not go together."""
    focus_of(config, world)
    resolved = resolve(config, world)
    run.write_config(resolved)
    return resolved


def describe(world: World, config: Config) -> None:
    """Lines for a person: what there is to learn from, what settings followed from it, where it lies."""
    counts, m, t = world.manifest["counts"], config.model, config.train
    rejected = sum(counts["rejected"].values())
    print(
        f"data  {counts['users']:,} users  {counts['items']:,} items  {counts['events']:,} events "
        f"({', '.join(world.event_types)})  {counts['social_edges']:,} friendships"
        + (f"  {rejected:,} bad rows, see {world.path / 'rejected.parquet'}" if rejected else "")
    )
    friends = "friends in the ranker alone" if len(world.friends.ids) else "no friends"
    friends = f"friends at {m.social_queries} a row" if knows_friends(config, world) else friends
    parts = (world.items.titles, world.items.descriptions, world.items.tags, world.items.categories)
    described = np.any([np.diff(part.offsets) > 0 for part in parts], axis=0).sum()
    texts = f"texts of {described:,} products" if described else "no product texts"
    texts += (
        f", vectors of width {world.items.vectors.shape[1]}" if world.items.vectors.shape[1] else ""
    )
    softmax = f"{t.negatives} sampled negatives" if t.negatives else "full softmax"
    print(
        f"model  width {m.width}  {m.num_layers} layers  history {m.history_length}  dropout {m.dropout}  {softmax}  "
        f"{texts}  {friends}  split {config.split}  on {parallel.num_devices()} x {parallel.device_kinds()[0]}"
    )
    print(f"events  {device_data.describe(len(world.events.items))}")
    print(
        f"tables  {local_vocabulary.told(model_for(config, world), t.negatives or 0)}", flush=True
    )


def evaluate(
    run: RunDirectory,
    recommender: Recommender,
    standing: Standing,
    ranker: stages.TrainedRanker | None,
) -> dict:
    """Judge everything, by process 0: see `_evaluate`."""
    return processes.first_says(lambda: _evaluate(run, recommender, standing, ranker))


def _evaluate(
    run: RunDirectory,
    recommender: Recommender,
    standing: Standing,
    ranker: stages.TrainedRanker | None,
) -> dict:
    """Judge retriever, ranker and every baseline on both parts, and write report.json and report.html."""
    world, config = recommender.world, recommender.config
    judged: dict[str, dict[str, protocol.Judgement]] = {"validation": {}, "test": {}}
    focus = focus_of(config, world)
    queries = {
        "validation": protocol.held_out(world, VALIDATION, focus),
        "test": protocol.held_out(world, TEST, focus),
    }
    for part, number in (("validation", VALIDATION), ("test", TEST)):
        if len(queries[part]):
            judged[part] = {"retriever": stages.judge_retriever(recommender, queries[part], number)}
    calibration = {}
    if ranker is not None:
        recommender.rank_with(ranker.signals, ranker.serving)
        judged["validation"] = {"ranker": ranker.out_of_fold} | judged["validation"]
        if len(queries["test"]):
            judgement, calibration = stages.judge_ranker(recommender, queries["test"], TEST)
            judged["test"] = {"ranker": judgement} | judged["test"]
    for name, judge in fit_rivals(
        world, queries["validation"], ranker and ranker.signals.cosine
    ).items():
        for part in judged:
            if len(queries[part]):
                judged[part][name] = judge(queries[part])
    report = {
        "data": world.manifest["counts"] | {name: world.manifest[name] for name in _DATA_FACTS},
        "split": config.split,
        "seed": config.seed,
        "targets": {
            part: {"new": len(q.target_rows), "seen_before": q.dropped}
            for part, q in queries.items()
        },
        **{
            part: {name: judgement.metrics for name, judgement in models.items()}
            for part, models in judged.items()
        },
        **_closer_look(world, queries["test"], judged["test"], config.seed),
        "calibration": calibration,
        "next_event": _next_event(recommender, ranker and ranker.signals.actions),
        "train": _speed(standing),
        "environment": environment(),
    }
    write_atomically(run.report, json.dumps(report, indent=1) + "\n")
    write_report(run.path)
    return report


def _closer_look(
    world: World, queries: protocol.Queries, judged: dict[str, protocol.Judgement], seed: int
) -> dict:
    """95% intervals and segments of each model."""
    masks = segments.segments(world, queries)
    intervals = {
        name: {
            m: metrics.bootstrap_interval(judgement.per_query[m], seed)
            for m in ("hr@10", "ndcg@10")
        }
        for name, judgement in judged.items()
    }
    return {
        "intervals": intervals,
        "segments": {n: segments.by_segment(j, masks) for n, j in judged.items()},
    }


def _next_event(recommender: Recommender, counted: CountRegression | None) -> dict:
    """Per part and event type: how well the next event's type is foretold, beside a regression on counts.

    counted: the one of the training part, where the ranker's signals hold it.
    """
    world = recommender.world
    if len(world.event_types) == 1:
        return {}
    regression = counted or CountRegression.fit(
        world.events, world.ends(VALIDATION), len(world.event_types)
    )
    found = {}
    for part, number in (("validation", VALIDATION), ("test", TEST)):
        users, rows = next_type.asked(world, number)
        types = world.events.types[rows]
        moments = world.moments(number)[users]
        states = recommender.states(
            world.events, users, rows, world.events.times[rows], moments=moments, as_of=number
        )
        asked = recommender.questions(world.events, users, rows, moments, number)
        ways = {
            "model": recommender.next_actions(states, asked),
            "regression on counts": regression.chances(world.events, users, rows),
        }
        found[part] = {
            name: next_type.judge(chances, types, world.event_types)
            for name, chances in ways.items()
        }
    return found


def _speed(standing: Standing) -> dict:
    """What training cost: seconds without compilation, validation and saving."""
    return {
        "stage": RETRIEVER,
        "seconds": round(standing.seconds, 2),
        "compile_seconds": round(standing.compile_seconds, 2),
        "trained_events_per_second": round(standing.events / max(standing.seconds, 1e-9)),
        "steps": standing.steps,
        "best_step": standing.best_step,
    }


def finish(run: RunDirectory, report: dict) -> None:
    """The accuracy table on the terminal, and where the rest lies."""
    if not processes.is_first():
        return
    judged = report["targets"]["test"]["new"]
    title = f"test accuracy, {report['split']}, whole catalogue, {judged:,} targets"
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for metric in _SHOWN:
        table.add_column(metric, justify="right", no_wrap=True)
    for name, values in report["test"].items():
        table.add_row(name, *(f"{values[metric]:.4f}" for metric in _SHOWN))
    Console(width=80).print(table)
    speed = report["train"]
    print(
        f"trained {speed['steps']} steps in {speed['seconds']:.0f} s, {speed['trained_events_per_second']:,} events/s"
    )
    print(f"report  {run.path / 'report.html'}", flush=True)
