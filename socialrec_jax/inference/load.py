"""A run directory -> the parts of a Recommender: config, World, model and the best averaged
parameters.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import NOW, VALIDATION, World
from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.models.embedding_tables import put_in
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.run import RunDirectory

RETRIEVER, FOCUS, RANKER, REFIT, REFIT_FOCUS = (
    "retriever",
    "focus",
    "ranker",
    "refit",
    "refit-focus",
)  # the stages whose checkpoints serve


@dataclasses.dataclass(frozen=True)
class Loaded:
    """All parts of a trained run."""

    world: World
    config: Config
    model: RecommenderModel
    params: dict  # of the retriever
    texts: np.ndarray  # [V, F]
    known: np.ndarray  # [V] items of which params learnt the id
    ranker: dict | None
    features: RankerFeatures | None


def load_run(path: Path, refitted: bool) -> Loaded:
    """The judged model, or the one refitted on all events if there is one.

    Raises InputMissing when path holds no trained run, DiskError when a best checkpoint is damaged.
    """
    run = RunDirectory(path)
    config = run.config()
    if not (run.world / "manifest.json").exists():
        raise InputMissing(f"{run.world} holds no prepared data: train the run to its end first")
    world = World.open(run.world)
    evaluated, refit = (FOCUS, REFIT_FOCUS) if config.train.focus else (RETRIEVER, REFIT)
    refitted = refitted and _finished(run, refit)
    params = _restore(run, refit if refitted else evaluated, world)
    ranker = features = None
    if _best(run, RANKER) is not None:
        ranker = serving_member(_restore(run, RANKER, world))
        features = RankerFeatures.load(features_folder(run, refitted))
    texts, known = (
        load_texts(run, world),
        items_with_events(world, world.history_ends(NOW if refitted else VALIDATION)),
    )
    return Loaded(
        world,
        config,
        model_for(config, world, texts.shape[1]),
        params,
        texts,
        known,
        ranker,
        features,
    )


def _best(run: RunDirectory, stage: str) -> int | None:
    return Checkpoints(run.checkpoints / stage).best_step()


def _finished(run: RunDirectory, stage: str) -> bool:
    """Whether a stage was trained to its end."""
    progress = Checkpoints(run.checkpoints / stage).newest_progress()
    return bool(progress and progress.get("finished"))


def _restore(run: RunDirectory, stage: str, world: World) -> dict:
    """The parameters of a stage at its best: averages, and the tables that have none."""
    checkpoints, best = Checkpoints(run.checkpoints / stage), _best(run, stage)
    if best is None:
        raise InputMissing(f"{run.path} holds no checkpoint yet: train the run first")
    _check_world(run, checkpoints.about_step(best), world)
    rows = {"items": world.num_items, "users": world.num_users}
    tables = checkpoints.restore_part("tables", best)
    return put_in(
        checkpoints.restore_part("average", best),
        {name: table["rows"][: rows[name]] for name, table in tables.items()},
    )


def _check_world(run: RunDirectory, about: dict, world: World) -> None:
    """BadData unless the World is the one a checkpoint was trained on, or a later generation."""
    if not world.descends_from(about.get("world")):
        raise BadData(f"{run.world} is not the data that {run.path} was trained on")
    if about["counts"] != _counts(world):
        raise BadData(
            f"{run.world} has grown to {world.num_users} users and {world.num_items} items since "
            f"{run.path} was trained: train a new --run on it"
        )


def _counts(world: World) -> dict[str, int]:
    """How long the tables are that a model has of a World."""
    return {"users": world.num_users, "items": world.num_items}


def serving_member(params: dict) -> dict:
    """The ranker that learnt from all held-out events, of the ones trained side by side."""
    return jax.tree.map(lambda leaf: leaf[0], params)


def features_folder(run: RunDirectory, refitted: bool) -> Path:
    return run.path / "signals" / ("refit" if refitted else "judged")


def items_with_events(world: World, history_ends: np.ndarray) -> np.ndarray:
    """Which items [V] bool occur before ends [U]."""
    visible = np.arange(len(world.events.items)) < history_ends[world.events.owners]
    return np.bincount(world.events.items[visible], minlength=world.num_items) > 0


def load_texts(run: RunDirectory, world: World) -> np.ndarray:
    """The items' fixed vectors [V, F], F = 0 where nothing is known of them."""
    file = run.text / "vectors.npy"
    return np.load(file) if file.exists() else np.zeros((world.num_items, 0), np.float32)


def focus_of(config: Config, world: World) -> tuple[int, ...]:
    """Numbers of the event types that pay. Raises UsageError for a type that the World does not
    have.
    """
    unknown = [name for name in config.train.focus if name not in world.event_types]
    if unknown:
        raise UsageError(
            f"--train.focus {unknown[0]}: the event types here are {', '.join(world.event_types)}"
        )
    return tuple(world.event_types.index(name) for name in config.train.focus)


def about(config: Config, world: World) -> dict:
    """What a checkpoint says of itself: with it and the World, a state can be used without
    guessing.
    """
    return {
        "world": world.manifest["hash"],
        "counts": _counts(world),
        "config": dataclasses.asdict(config),
        "event_types": world.event_types,
    }


def model_for(config: Config, world: World, text_width: int = 0) -> RecommenderModel:
    """The model that fits a World and the width F of its items' fixed vectors."""
    num_users = world.num_users if uses_friends(config, world) else 0
    return RecommenderModel(
        config.model, world.num_items, len(world.event_types), num_users, text_width
    )


def uses_friends(config: Config, world: World) -> bool:
    """Without friendships, or with `social_queries` off, a retriever has no part for friends."""
    return config.model.social_queries > 0 and len(world.friends.ids) > 0
