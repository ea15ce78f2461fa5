"""A run directory to the parts of an engine: config, World, model, the best averaged parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import BEFORE_VALIDATION, NOW, World
from socialrec_jax.errors import BadData, InputMissing, UsageError
from socialrec_jax.models.embedding_tables import in_number_order, merge_tables
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.generations import current_generation
from socialrec_jax.runtime.run import RunDirectory

# The stages whose checkpoints serve.
RETRIEVER, FOCUS, RANKER = "retriever", "focus", "ranker"
REFIT, REFIT_FOCUS = "refit", "refit-focus"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """All parts of a trained run."""

    world: World
    config: Config
    model: RecommenderModel
    params: dict  # of the retriever
    texts: np.ndarray  # [V, F]
    known: np.ndarray  # [V] bool, items whose ids params learnt
    ranker: dict | None
    features: RankerFeatures | None


def load_run(path: Path, refitted: bool) -> Loaded:
    """The model that was refitted on all events if there is one, or the one that was evaluated, of
    the generation that serves.

    Raises InputMissing when path holds no trained run, DiskError when a best checkpoint is damaged.
    """
    run = current_generation(path)
    config = run.config()
    if not (run.world / "manifest.json").exists():
        raise InputMissing(f"{run.world} holds no prepared data: train the run to its end first")
    world = World.open(run.world)
    texts = load_texts(run, world)

    evaluated, refit = (FOCUS, REFIT_FOCUS) if config.train.focus else (RETRIEVER, REFIT)
    # The refit may still be under way, or switched off.
    refitted = refitted and _finished(run, refit)
    learnt = world.history_ends(NOW if refitted else BEFORE_VALIDATION)
    ranker, features = _load_ranker(run, world, refitted)
    return Loaded(
        world=world,
        config=config,
        model=model_for(config, world, texts.shape[1]),
        params=_restore(run, refit if refitted else evaluated, world),
        texts=texts,
        known=items_with_events(world, learnt),
        ranker=ranker,
        features=features,
    )


def _load_ranker(
    run: RunDirectory, world: World, refitted: bool
) -> tuple[dict | None, RankerFeatures | None]:
    """The ranker's parameters and features; None in a run without ranker.

    The ranker is trained once. Its features are counted anew for the refitted model.
    """
    if _best(run, RANKER) is None:
        return None, None
    params = serving_member(_restore(run, RANKER, world))
    return params, RankerFeatures.load(features_folder(run, refitted))


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
    # The ranker has no tables, so that it fits a World of any size.
    _check_world(run, checkpoints.about_step(best), world, check_counts=stage != RANKER)
    rows = {"items": world.num_items, "users": world.num_users}
    tables = checkpoints.restore_part("tables", best)
    return merge_tables(
        checkpoints.restore_part("average", best),
        {name: in_number_order(table["rows"], rows[name]) for name, table in tables.items()},
    )


def _check_world(run: RunDirectory, about: dict, world: World, check_counts: bool) -> None:
    """BadData unless the World is the one a checkpoint was trained on, or a later generation."""
    if not world.descends_from(about.get("world")):
        raise BadData(f"{run.world} is not the data that {run.path} was trained on")
    if check_counts and about["counts"] != _counts(world):
        raise BadData(
            f"{run.world} has grown to {world.num_users} users and {world.num_items} items since "
            f"{run.path} was trained: train a new --run on it"
        )


def _counts(world: World) -> dict[str, int]:
    """How long the tables are that a model has of a World."""
    return {"users": world.num_users, "items": world.num_items}


def serving_member(params: dict) -> dict:
    """The ranker that learnt from all held-out events, of the ones trained side by side."""
    # On the host: a slice on devices is a program for each shape.
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], params)


def features_folder(run: RunDirectory, refitted: bool) -> Path:
    return run.path / "features" / ("refit" if refitted else "evaluated")


def items_with_events(world: World, history_ends: np.ndarray) -> np.ndarray:
    """Which items [V] bool have a visible event, before history_ends [U]."""
    visible = world.events.items[world.events.visible(history_ends)]
    return np.bincount(visible, minlength=world.num_items) > 0


def load_texts(run: RunDirectory, world: World) -> np.ndarray:
    """The items' vectors of text and image [V, F], F = 0 where the items have neither."""
    file = run.text / "vectors.npy"
    return np.load(file) if file.exists() else np.zeros((world.num_items, 0), np.float32)


def focus_of(config: Config, world: World) -> tuple[int, ...]:
    """Numbers of the event types in focus. Raises UsageError for a type that the World lacks."""
    unknown = [name for name in config.train.focus if name not in world.event_types]
    if unknown:
        raise UsageError(
            f"--train.focus {unknown[0]}: the event types here are {', '.join(world.event_types)}"
        )
    return tuple(world.event_types.index(name) for name in config.train.focus)


def about(config: Config, world: World) -> dict:
    """What a checkpoint says of itself: it opens with this World, model and event types alone."""
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
    """Whether the retriever has a part for friends: not without friendships or social queries."""
    return config.model.social_queries > 0 and len(world.friends.ids) > 0
