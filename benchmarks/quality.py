"""Which part of the system earns its place? The same training with one part taken away, over
several seeds.

    python -m benchmarks run --suite quality [--data DIR] [--split time] [--seeds 0 1 2] [--arms all no-friends ...]

Each arm is a whole run (text, retriever, ranker) on a World without one source. Friends have two
controls: no graph, and a graph with the same degrees and other friends. The last line is one JSON
object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.columns import Strings
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import (
    BEFORE_VALIDATION,
    TEST,
    TRAIN,
    VALIDATION,
    Events,
    Friends,
    World,
)
from socialrec_jax.evaluation import protocol
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import items_with_events
from socialrec_jax.pipeline.evaluate import evaluate
from socialrec_jax.pipeline.ranker import evaluate_ranker, train_ranker
from socialrec_jax.pipeline.retriever import engine_of, train_retriever
from socialrec_jax.pipeline.settings import write_auto_config
from socialrec_jax.pipeline.text import item_features
from socialrec_jax.runtime.run import RunDirectory

METRICS = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")
_SHUFFLES = 200


def without_friends(world: World, _seed: int) -> World:
    """Nobody knows anybody."""
    none = Friends(np.zeros_like(world.friends.offsets), *(c[:0] for c in _columns(world.friends)))
    return dataclasses.replace(world, friends=none)


def with_other_friends(world: World, seed: int) -> World:
    """Everybody has as many friends as before, but others: the friendships' second ends change
    places at random.
    """
    offsets, ids = world.friends.offsets, world.friends.ids
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(world.num_users), np.diff(offsets))
    once = owners < ids if _is_symmetric(owners, ids) else np.ones(len(ids), bool)
    src, dst, kept = (
        owners[once],
        _shuffled_ends(owners[once], ids[once], bool(once.all()), rng),
        np.flatnonzero(once),
    )
    if not once.all():
        src, dst, kept = (
            np.concatenate([src, dst]),
            np.concatenate([dst, src]),
            np.concatenate([kept, kept]),
        )
    order = np.lexsort((dst, src))
    counts = np.bincount(src, minlength=world.num_users)
    others = (world.friends.weights[kept][order], world.friends.times[kept][order])
    shuffled = Friends(
        np.concatenate([[0], np.cumsum(counts)]), dst[order].astype(np.int32), *others
    )
    return dataclasses.replace(world, friends=shuffled)


def _shuffled_ends(
    src: np.ndarray, dst: np.ndarray, directed: bool, rng: np.random.Generator
) -> np.ndarray:
    """dst in a random order that makes nobody a friend of themselves, nor of the same friend twice
    if that can be.
    """
    src, dst = src.astype(np.int64), rng.permutation(dst).astype(np.int64)
    for _ in range(_SHUFFLES):
        one, other = (src, dst) if directed else (np.minimum(src, dst), np.maximum(src, dst))
        first = np.zeros(len(src), bool)
        first[np.unique(one * (1 << 32) + other, return_index=True)[1]] = True
        if not len(wrong := np.flatnonzero((src == dst) | ~first)):
            break
        for here, there in zip(wrong, rng.integers(0, len(dst), len(wrong)), strict=True):
            dst[[here, there]] = dst[[there, here]]
    return dst


def without_text(world: World, _seed: int) -> World:
    """Products are numbers."""
    empty = Strings.of([""] * world.num_items)
    names = ("titles", "descriptions", "tags", "categories")
    vectors = np.zeros((world.num_items, 0), np.float32)
    return dataclasses.replace(
        world,
        items=dataclasses.replace(world.items, vectors=vectors, **dict.fromkeys(names, empty)),
    )


def without_order(world: World, seed: int) -> World:
    """What a user did in the training part stays, but not in which order."""
    rng = np.random.default_rng(seed)
    owners, rows = world.events.owners, np.arange(len(world.events.items))
    learnt = rows < world.history_ends(BEFORE_VALIDATION)[owners]
    order = np.lexsort((rng.random(learnt.sum()), owners[learnt]))
    columns = {name: getattr(world.events, name).copy() for name in ("items", "types", "values")}
    for column in columns.values():
        column[learnt] = column[learnt][order]
    return dataclasses.replace(world, events=dataclasses.replace(world.events, **columns))


ARMS: dict[str, Callable[[World, int], World]] = {
    "all": lambda world, seed: world,
    "no friends": without_friends,
    "other friends": with_other_friends,
    "no text": without_text,
    "no order": without_order,
    "behavior only": lambda world, seed: without_text(without_friends(world, seed), seed),
}


STRICT = "ranker from the training part"


def train(world: World, config: Config, folder: Path) -> dict:
    """One run; {part: {model: metrics}} of validation and test."""
    run = RunDirectory(folder)
    with run.lock():
        engine, progress, ranker = _stages(run, world, config)
        report = evaluate(run, engine, progress, ranker)
    return {part: report[part] for part in ("validation", "test")}


def _stages(run: RunDirectory, world: World, config: Config):
    config = write_auto_config(run, config, world)
    texts = item_features(run, world, config)
    state, progress = train_retriever(run, world, config, texts)
    engine = engine_of(world, config, texts, state)
    return engine, progress, train_ranker(run, engine)


def train_strictly(world: World, config: Config, folder: Path) -> dict:
    """A ranker that has not seen the validation part either: it learnt from the last training
    events.

    Its retriever had to do without these, and is the one that is tested: a lower bound of what the
    system does.
    """
    run = RunDirectory(folder)
    with run.lock():
        engine, _, ranker = _stages(run, one_event_earlier(world), config)
        if ranker is None:
            return {}
        known = items_with_events(engine.world, engine.world.history_ends(BEFORE_VALIDATION))
        params = jax.tree.map(np.asarray, engine.variables["params"])
        tested = Engine.create(
            world, engine.config, engine.model, params, texts=engine.texts, known=known
        )
        history_ends = world.history_ends(BEFORE_VALIDATION)
        features = RankerFeatures.fit(world, history_ends, ranker.features.settings)
        tested = tested.with_ranker(features, ranker.serving)
        parts = {"validation": VALIDATION, "test": TEST}
        evaluated = {
            n: evaluate_ranker(tested, protocol.held_out(world, p))[0] for n, p in parts.items()
        }
    return {
        name: {"ranker": evaluation_result.metrics} for name, evaluation_result in evaluated.items()
    }


def one_event_earlier(world: World) -> World:
    """Without the test part, what was validated is tested, and each user's last training event is
    validated.
    """
    events, splits = world.events, world.event_splits
    kept = splits < TEST
    offsets = np.concatenate([[0], np.cumsum(events.count_before(kept))])
    columns = {name: getattr(events, name)[kept] for name in ("items", "times", "types", "values")}
    earlier = np.where(splits[kept] == VALIDATION, TEST, TRAIN).astype(splits.dtype)
    learnt = np.bincount(events.owners[kept][earlier == TRAIN], minlength=world.num_users)
    last = (offsets[:-1] + learnt - 1)[learnt > 1]
    earlier[last] = VALIDATION
    return dataclasses.replace(world, events=Events(offsets, **columns), event_splits=earlier)


def run_suite(
    world: World, config: Config, arms: list[str], seeds: list[int], folder: Path
) -> dict:
    """{arm: {model: {metric: {mean, deviation, values}}}} on the test part."""
    results = {}
    for arm in arms:
        runs = []
        for seed in seeds:
            seeded, place = (
                dataclasses.replace(config, seed=seed),
                folder / f"{arm.replace(' ', '-')}-{seed}",
            )
            strict = arm == STRICT
            runs.append(
                train_strictly(world, seeded, place)
                if strict
                else train(ARMS[arm](world, seed), seeded, place)
            )
        results[arm] = {part: summary([r[part] for r in runs]) for part in ("validation", "test")}
    return results


def summary(runs: list[dict]) -> dict:
    """Mean and standard deviation over seeds of each model's metrics."""
    return {
        model: {
            metric: {
                "mean": round(float(np.mean([r[model][metric] for r in runs])), 5),
                "deviation": round(
                    float(np.std([r[model][metric] for r in runs], ddof=len(runs) > 1)), 5
                ),
                "values": [round(r[model][metric], 5) for r in runs],
            }
            for metric in METRICS
        }
        for model in runs[0]
    }


def table(results: dict, part: str = "test") -> str:
    """Markdown: an arm and model a row, the others' figures from the first arm."""
    lines = ["| arm | model | " + " | ".join(METRICS) + " |", "|---|---|" + "---|" * len(METRICS)]
    for number, (arm, models) in enumerate(results.items()):
        for model, metrics in models[part].items():
            if number == 0 or model in ("ranker", "retriever"):
                cells = [f"{m['mean']:.4f} ± {m['deviation']:.4f}" for m in metrics.values()]
                lines.append(f"| {arm} | {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _columns(friends: Friends) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return friends.ids, friends.weights, friends.times


def _is_symmetric(owners: np.ndarray, ids: np.ndarray) -> bool:
    """Whether every friendship is stored from both ends."""
    there, back = np.lexsort((ids, owners)), np.lexsort((owners, ids))
    return bool(
        np.array_equal(owners[there], ids[back]) and np.array_equal(ids[there], owners[back])
    )
