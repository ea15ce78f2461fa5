"""A shop whose users take what they want of the lists that they are shown, if they look there.

The wishes are the shop's own: the new items of a user's events after the training. Half of the
wishes can be taken from lists, the other half tells how good a ranker is. So nothing that is
evaluated was learnt. The click model is the position-based one (Craswell et al. 2008): the place r
of a list is looked at with probability 1 / r, and an item there is taken if the user wants it, or
by chance.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from socialrec_jax.config import Config
from socialrec_jax.data.csr import Pairs, offsets_of
from socialrec_jax.data.query import query_as_of
from socialrec_jax.data.world import NOW, World
from socialrec_jax.evaluation.evaluator import evaluate_ranker
from socialrec_jax.evaluation.protocol import EvaluationQueries
from socialrec_jax.inference.engine import Engine
from socialrec_jax.inference.load import load_run
from socialrec_jax.pipeline.next_generation import prepare_generation
from socialrec_jax.pipeline.ranker import fit_ranker
from socialrec_jax.pipeline.ranker_update import RankerLesson
from socialrec_jax.pipeline.shown_lists import ShownExamples
from socialrec_jax.pipeline.update import open_update
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory
from socialrec_jax.serving.exploration import Exploration
from socialrec_jax.serving.placements import Placement
from socialrec_jax.serving.recommender import Recommender

ARMS = ("before", "without lists", "not corrected", "corrected")
_BY_CHANCE = 0.02  # of what is looked at and not wanted
_LATER = 3600  # seconds from one list of a user to the next


@dataclasses.dataclass(frozen=True)
class Shop:
    """What users want after the training: pairs of user and item that are new to each other."""

    world: World  # of the training
    users: np.ndarray  # [n]
    items: np.ndarray  # [n]
    may_take: np.ndarray  # [n] bool, whether a list can satisfy the wish; the others evaluate

    @classmethod
    def of(cls, world: World, later: Path, rng: np.random.Generator) -> Shop:
        """later: the table of the events after the training."""
        rows = duckdb.sql(
            f"""SELECT DISTINCT "user", item FROM '{later}' ORDER BY ALL"""
        ).fetchall()
        users = world.user_ids.lookup([str(user) for user, _ in rows])
        items = world.items.ids.lookup([str(item) for _, item in rows])
        events = world.events
        known = events.owners * np.int64(world.num_items) + events.items
        is_new = ~np.isin(users * world.num_items + items, known) & (users >= 0) & (items >= 0)
        users, items = users[is_new], items[is_new]
        return cls(world, users, items, rng.random(len(users)) < 0.5)

    def wanted(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Which pairs [...] a list can satisfy."""
        keys = (self.users * self.world.num_items + self.items)[self.may_take]
        return np.isin(users * self.world.num_items + items, keys)

    def queries(self) -> EvaluationQueries:
        """All users with wishes that no list satisfied, as of now."""
        events, rest = self.world.events, ~self.may_take
        users, owners = np.unique(self.users[rest], return_inverse=True)
        query = query_as_of(self.world, users, NOW)
        return EvaluationQueries(
            query=query,
            seen=events.histories(users, query.history_ends),
            targets=Pairs(offsets_of(owners, len(users)), self.items[rest]),
            target_rows=np.zeros(int(rest.sum()), np.int64),
            dropped=0,
            item_counts=np.bincount(events.items, minlength=self.world.num_items),
        )


def write_feedback(
    run: Path,
    shop: Shop,
    folder: Path,
    *,
    num_lists: int,
    explore: float,
    placement: Placement | None,
) -> dict[str, int]:
    """Show each user so many lists of ten, and write events.parquet and recommended.parquet.

    placement: what made the lists instead of the model.
    """
    recommender = Recommender.load(run)
    made = recommender.recommend(k=10, reasons="off", placement=placement)
    rows = _numbered(made, shop.world)
    rng = np.random.default_rng(len(shop.users))
    first = Exploration.now(explore, shop.world)
    lists = [
        _one_list(rows, shop, dataclasses.replace(first, time=first.time + n * _LATER), rng)
        for n in range(num_lists)
    ]
    shown = {name: np.concatenate([part[name] for part in lists]) for name in lists[0]}
    taken = _first_of_each_pair(shown)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, shown, taken, shop.world)
    return {"rows": len(taken), "taken": int(taken.sum())}


def _numbered(made: pa.Table, world: World) -> dict[str, np.ndarray]:
    """Lists with a row an item, as numbers."""
    users = world.user_ids.lookup(made["user_id"].to_pylist())
    items = world.items.ids.lookup(made["item_id"].to_pylist())
    return {"users": users, "items": items, "ranks": made["rank"].to_numpy().astype(np.int64)}


def _one_list(
    rows: dict[str, np.ndarray], shop: Shop, exploration: Exploration, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The lists of all users at one time, some of them shuffled, and what is taken of them."""
    users, items = rows["users"], rows["items"]
    explored = exploration.is_explored(users)
    keys = np.where(explored, rng.random(len(users)), rows["ranks"])
    order = np.lexsort([keys, users])
    begins = np.flatnonzero(np.append(True, np.diff(users[order]) != 0))
    lengths = np.diff(np.append(begins, len(order)))
    ranks = 1 + np.arange(len(order)) - np.repeat(begins, lengths)
    users, items, explored = users[order], items[order], explored[order]
    looked_at = rng.random(len(order)) < 1 / ranks
    wanted = shop.wanted(users, items) | (rng.random(len(order)) < _BY_CHANCE)
    times = np.full(len(order), exploration.time)
    names = ("users", "items", "ranks", "times", "explored", "takes")
    return dict(zip(names, (users, items, ranks, times, explored, looked_at & wanted), strict=True))


def _first_of_each_pair(shown: dict[str, np.ndarray]) -> np.ndarray:
    """Which rows are taken [n] bool: a user takes an item once."""
    takes = np.flatnonzero(shown["takes"])
    pairs = np.stack([shown["users"], shown["items"]], axis=1)[takes]
    _, first = np.unique(pairs, axis=0, return_index=True)
    taken = np.zeros(len(shown["takes"]), bool)
    taken[takes[first]] = True
    return taken


def _write(folder: Path, shown: dict[str, np.ndarray], taken: np.ndarray, world: World) -> None:
    users = pa.array([world.user_ids[user] for user in shown["users"].tolist()])
    items = pa.array([world.items.ids[item] for item in shown["items"].tolist()])
    columns = {name: pa.array(shown[name]) for name in ("ranks", "times", "explored")}
    recommended = {
        "user_id": users,
        "item_id": items,
        "rank": columns["ranks"],
        "timestamp": columns["times"],
        "explored": columns["explored"],
    }
    pq.write_table(pa.table(recommended), folder / "recommended.parquet")
    times = shown["times"] + shown["ranks"]
    events = pa.table({"user": users, "item": items, "timestamp": pa.array(times)})
    events = events.append_column("event_type", pa.array(["view"] * len(events)))
    pq.write_table(events.filter(pa.array(taken)), folder / "events.parquet")


def compare(run: RunDirectory, feedback: Path, shop: Shop, config: Config) -> dict[str, Any]:
    """{arm: NDCG@10 of the wishes that no list satisfied}, and the places as they were estimated.

    All arms have the same retriever and the same counts, of the training alone.
    """
    lesson, corrected, folder = _lesson(run, feedback, config)
    uncorrected = dataclasses.replace(corrected, examination=np.ones_like(corrected.examination))
    loaded = load_run(run.path / "generations" / "0", refitted=True)
    engine, queries = Engine.of_loaded(loaded), shop.queries()
    rankers = {"before": loaded.ranker}
    shown_by_arm = zip(ARMS[1:], (None, uncorrected, corrected), strict=True)
    for arm, shown in shown_by_arm:
        parts = lesson.engine, lesson.features, lesson.queries, shown
        rankers[arm] = fit_ranker(folder, arm.replace(" ", "-"), *parts).serving
    result = {
        arm: _ndcg(engine, loaded.features, params, queries) for arm, params in rankers.items()
    }
    return result | {"places": corrected.examination.tolist(), "queries": len(queries)}


def _lesson(
    run: RunDirectory, feedback: Path, config: Config
) -> tuple[RankerLesson, ShownExamples, RunDirectory]:
    """What the next generation of a run learns from, the lists among it, and its folder."""
    generations = Generations(run)
    prepared = prepare_generation(generations, feedback, config)
    update = open_update(generations, prepared["parent"], prepared["number"], config)
    lesson = RankerLesson.of(update, update.world.history_ends())
    if lesson is None or lesson.shown is None:
        raise ValueError("the lists teach nothing: show more of them")
    return lesson, lesson.shown, update.run


def _ndcg(engine: Engine, features, params, queries: EvaluationQueries) -> float:
    result, _ = evaluate_ranker(engine.with_ranker(features, params), queries)
    return result.metrics["ndcg@10"]
