"""Days of a shop: the same events predicted by a model that is never updated, by one that is
updated every day, and by one that is trained from nothing every few days.

Each day is predicted before anybody learns from it (`evaluation/prequential.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.growth import Growth
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData
from socialrec_jax.evaluation.prequential import evaluate_events, queries_before
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.grow import grow, item_knn_settings, with_counts
from socialrec_jax.inference.load import load_run, load_texts
from socialrec_jax.pipeline.ranker import train_ranker
from socialrec_jax.pipeline.refit import RetrieverProgress, refit
from socialrec_jax.pipeline.retriever import engine_of, train_retriever
from socialrec_jax.pipeline.update import add, summary
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory

NEVER, UPDATED, RETRAINED = "never updated", "updated", "retrained from nothing"
_POISON_PER_USER = 10  # random events of each user that is chosen
_EVALUATED_EVENTS = 10_000


@dataclasses.dataclass(frozen=True)
class Day:
    """One folder of tables, and what became of it."""

    number: int
    outcome: str  # what `train.py --add` says
    accepted: bool
    events: int = 0
    accuracy: dict = dataclasses.field(default_factory=dict)  # by model
    seconds: dict = dataclasses.field(default_factory=dict)  # of updating and of retraining
    processor_seconds: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Times:
    """How long the trainings of a day took, by model."""

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    # On all cores: other programs on the machine change it little.
    processor_seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def of(self, model: str) -> Iterator[None]:
        """Measure what the block does for a model."""
        started_at, used_before = time.perf_counter(), time.process_time()
        yield
        self.seconds[model] = round(time.perf_counter() - started_at, 1)
        self.processor_seconds[model] = round(time.process_time() - used_before, 1)


def run_day(run: RunDirectory, number: int, tables: Path, config: Config, retrain: bool) -> Day:
    """Add the tables of a day to a run, and evaluate all models on its events.

    retrain: whether a model is trained from nothing at the end of the day, in RUN/retrained. It is
    evaluated until the next one; before there is any, the first model of the run is.
    """
    generations = Generations(run)
    serving, times = generations.current, Times()
    try:
        with times.of(UPDATED):
            record = add(run, tables, config)
    except BadData as refusal:
        return Day(number, str(refusal), accepted=False)

    parent = record["parent"]
    # A day that was stopped while a model was trained from nothing: the update was done before.
    if parent != serving:
        times = Times()
    after = generations.directory(generations.current)
    # By the folder of its number: the run itself opens the newest generation.
    first, before = (RunDirectory(generations.folder / str(n)) for n in (0, parent))
    retrained = _newest_retrained(run, number) or first
    models = {NEVER: first, UPDATED: before, RETRAINED: retrained}
    accuracy = evaluate_models(World.open(before.world), after, models)
    if retrain:
        with times.of(RETRAINED):
            train_from_nothing(run, number, after, config)
    events = accuracy[UPDATED]["events"]
    outcome = summary(record)
    return Day(number, outcome, True, events, accuracy, times.seconds, times.processor_seconds)


def _newest_retrained(run: RunDirectory, day: int) -> RunDirectory | None:
    """The newest run of `train_from_nothing` of the days before, trained to its end."""
    numbers = [int(file.parent.name) for file in run.path.glob("retrained/*/finished")]
    earlier = [number for number in numbers if number < day]
    return RunDirectory(run.path / "retrained" / str(max(earlier))) if earlier else None


def evaluate_models(known: World, after: RunDirectory, models: dict[str, RunDirectory]) -> dict:
    """{model: metrics} on the events that the run `after` has more than the World `known`."""
    world = World.open(after.world)
    texts = load_texts(after, world)
    growth = Growth.between(known, world)
    return {
        name: _evaluate(model, world, texts, growth, is_frozen=name == NEVER)
        for name, model in models.items()
    }


def _evaluate(
    run: RunDirectory, world: World, texts: np.ndarray, growth: Growth, is_frozen: bool
) -> dict[str, float]:
    """Metrics of a run's model, which knows all histories; is_frozen: its counts stay, too."""
    loaded = load_run(run.path, refitted=True)
    counted = Growth.between(loaded.world, world) if is_frozen else growth
    ends = counted.history_ends_before(world.events)
    grown, settings = grow(loaded, world, texts), item_knn_settings(loaded)
    model = with_counts(grown, settings, ends, counted.known_items)
    queries = queries_before(world, growth.rows).sample(_EVALUATED_EVENTS, seed=0)
    result = evaluate_events(Engine.of_loaded(model), queries)
    is_new_item = queries.targets.items >= growth.known_items
    new_items = result.per_query["hr@10"][is_new_item]
    return {
        "events": len(queries),
        "ndcg@10": result.metrics["ndcg@10"],
        "hr@10": result.metrics["hr@10"],
        "events with new items": len(new_items),
        "hits with new items": float(new_items.sum()),
    }


def train_from_nothing(run: RunDirectory, number: int, after: RunDirectory, config: Config) -> None:
    """Train a run on the World of another with its texts."""
    retrained = RunDirectory(run.path / "retrained" / str(number))
    shutil.rmtree(retrained.path, ignore_errors=True)
    retrained.path.mkdir(parents=True)
    retrained.world.symlink_to(after.world.resolve())
    if after.text.exists():
        retrained.text.symlink_to(after.text.resolve())
    retrained.write_config(config)

    world = World.open(retrained.world)
    texts = load_texts(retrained, world)
    state, progress = train_retriever(retrained, world, config, texts)
    ranker = train_ranker(retrained, engine_of(world, config, texts, state))
    refit(retrained, world, config, texts, RetrieverProgress(progress), ranker)
    (retrained.path / "finished").touch()


def poison(tables: Path, known: World, out: Path, seed: int) -> Path:
    """The tables with random events for a fifth of all known users, within the same time."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(tables, out)
    rng = np.random.default_rng(seed)
    users = rng.permutation(known.num_users)[: known.num_users // 5]
    owners = np.repeat(users, _POISON_PER_USER)
    items = rng.integers(0, known.num_items, len(owners))
    types = rng.integers(0, len(known.event_types), len(owners))
    columns = {
        "u": [known.user_ids[user] for user in owners.tolist()],
        "i": [known.items.ids[item] for item in items.tolist()],
        "t": [known.event_types[number] for number in types.tolist()],
        "share": rng.random(len(owners)),
    }
    file = out / "events.parquet"
    with duckdb.connect() as database:
        database.register("random", {name: np.array(column) for name, column in columns.items()})
        database.execute(f"""
            CREATE TABLE good AS FROM '{file}';
            COPY (SELECT "user", item, timestamp, event_type FROM good UNION ALL BY NAME
                SELECT u AS "user", i AS item, t AS event_type,
                (SELECT min(timestamp) FROM good)
                + (share * (SELECT max(timestamp) - min(timestamp) FROM good))::BIGINT AS timestamp
                FROM random) TO '{file}' (FORMAT parquet)""")
    return out
