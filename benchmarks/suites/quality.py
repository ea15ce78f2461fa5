"""Which part of the system earns its place? The same training with one part taken away, over
several seeds.

    python -m benchmarks run --suite quality [--data DIR] [--split time] [--seeds 0 1 2]
        [--arms all "no friends" ...]

Each arm is a whole run (text, retriever, ranker) on a World without one source. Friends have two
controls: no graph, and a graph with the same degrees and other friends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from benchmarks.work import ablations
from socialrec_jax.config import Config
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import TEST, VALIDATION, World
from socialrec_jax.evaluation import protocol
from socialrec_jax.inference.engine import Recommender
from socialrec_jax.inference.load import items_with_events
from socialrec_jax.pipeline.evaluate import evaluate
from socialrec_jax.pipeline.ranker import evaluate_ranker, train_ranker
from socialrec_jax.pipeline.retriever import recommender_of, train_retriever
from socialrec_jax.pipeline.settings import write_auto_config
from socialrec_jax.pipeline.text import item_features
from socialrec_jax.runtime.run import RunDirectory

# What a table shows; report.json of each run has more.
METRICS = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")
PARTS = {"validation": VALIDATION, "test": TEST}

# Each makes the World of an arm from the whole one and a seed.
ARMS: dict[str, Callable[[World, int], World]] = {
    "all": lambda world, seed: world,
    "no friends": lambda world, seed: ablations.without_friends(world),
    "other friends": ablations.with_random_friends,
    "no text": lambda world, seed: ablations.without_text(world),
    "no order": ablations.without_order,
    "behavior only": lambda world, seed: ablations.behavior_alone(world),
}
# An arm of its own: it changes what the ranker learns from, not the World.
STRICT = "ranker from the training part"


def run(world: World, config: Config, arms: list[str], seeds: list[int], folder: Path) -> dict:
    """{arm: {part: {model: {metric: {mean, deviation, values}}}}}; a run of each arm and seed is
    kept in folder, and a finished one is not trained again.
    """
    results = {}
    for arm in arms:
        runs = [_run_arm(arm, world, config, seed, folder) for seed in seeds]
        results[arm] = {part: summary([run[part] for run in runs]) for part in PARTS}
    return results


def _run_arm(arm: str, world: World, config: Config, seed: int, folder: Path) -> dict:
    config = dataclasses.replace(config, seed=seed)
    # A folder for each arm and seed, so that an interrupted suite goes on.
    run_folder = folder / f"{arm.replace(' ', '-')}-{seed}"
    if arm == STRICT:
        return train_strictly(world, config, run_folder)
    return train(ARMS[arm](world, seed), config, run_folder)


def train(world: World, config: Config, folder: Path) -> dict:
    """One run: {part: {model: metrics}} of validation and test."""
    run = RunDirectory(folder)
    with run.lock():
        recommender, progress, ranker = _train_stages(run, world, config)
        report = evaluate(run, recommender, progress, ranker)
    return {part: report[part] for part in PARTS}


def _train_stages(run: RunDirectory, world: World, config: Config):
    config = write_auto_config(run, config, world)
    texts = item_features(run, world, config)
    state, progress = train_retriever(run, world, config, texts)
    recommender = recommender_of(world, config, texts, state)
    return recommender, progress, train_ranker(run, recommender)


def train_strictly(world: World, config: Config, folder: Path) -> dict:
    """A run whose ranker has not seen the validation part either: it learnt from the last training
    events.

    Its retriever had to learn without these events, and is the one that is evaluated. So this is a
    lower bound of the system's accuracy.
    """
    run = RunDirectory(folder)
    with run.lock():
        earlier = ablations.one_event_earlier(world)
        recommender, _, ranker = _train_stages(run, earlier, config)
        # A shop without held-out events has no ranker.
        if ranker is None:
            return {part: {} for part in PARTS}
        evaluated = _on_world(world, recommender, ranker)
        results = {}
        for name, part in PARTS.items():
            queries = protocol.held_out(world, part)
            result, *_ = evaluate_ranker(evaluated, queries, part)
            results[name] = {"ranker": result.metrics}
    return results


def _on_world(world: World, recommender: Recommender, ranker) -> Recommender:
    """The same parameters on the whole World, with features of its training part."""
    earlier = recommender.world
    # What the retriever has learnt from, not what this World has seen since.
    known = items_with_events(earlier, earlier.history_ends(BEFORE_VALIDATION))
    params = jax.tree.map(np.asarray, recommender.variables["params"])
    features = RankerFeatures.fit(
        world, world.history_ends(BEFORE_VALIDATION), ranker.features.settings
    )
    evaluated = Recommender(world, recommender.config, recommender.model, recommender.texts)
    evaluated.use(params, known)
    evaluated.rank_with(features, ranker.serving)
    return evaluated


def summary(runs: list[dict]) -> dict:
    """Each model's metrics over the seeds: {model: {metric: {mean, deviation, values}}}."""
    return {
        model: {metric: _over_seeds([run[model][metric] for run in runs]) for metric in METRICS}
        for model in runs[0]
    }


def _over_seeds(values: list[float]) -> dict:
    # One seed has no deviation.
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return {
        "mean": round(float(np.mean(values)), 5),
        "deviation": round(float(deviation), 5),
        "values": [round(value, 5) for value in values],
    }
