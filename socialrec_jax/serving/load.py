"""A run directory -> the parts of a Recommender: config, World, model and the best averaged parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from socialrec_jax.checkpoint import Checkpoints
from socialrec_jax.config import Config
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, InputMissing
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.run import RunDirectory

RETRIEVER = "retriever"


def load_run(path: Path) -> tuple[World, Config, RecommenderModel, dict]:
    """Raises InputMissing when path holds no trained run, DiskError when its best checkpoint is damaged."""
    run = RunDirectory(path)
    config = run.config()
    if not (run.world / "manifest.json").exists():
        raise InputMissing(f"{run.world} holds no prepared data: train the run to its end first")
    world = World.open(run.world)
    model = model_for(config, world)
    checkpoints = Checkpoints(run.checkpoints / RETRIEVER)
    best = checkpoints.best_step()
    if best is None:
        raise InputMissing(f"{path} holds no checkpoint yet: train the run first")
    if checkpoints.about_step(best).get("world") != world.manifest["hash"]:
        raise BadData(f"{run.world} is not the data that {path} was trained on")
    return world, config, model, checkpoints.restore_part("average", best)


def about(config: Config, world: World) -> dict:
    """What a checkpoint says of itself: with it and the World, a state can be used without guessing."""
    return {"world": world.manifest["hash"], "config": dataclasses.asdict(config), "event_types": world.event_types}


def model_for(config: Config, world: World) -> RecommenderModel:
    """The model that fits a World: without friendships, or with `social_queries` off, it has no part for friends."""
    num_users = world.num_users if config.model.social_queries and len(world.friends.ids) else 0
    return RecommenderModel(config.model, world.num_items, len(world.event_types), num_users)
