"""Whether a checkpoint fits the run that it is opened in: its World, settings and model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.world import World
from socialrec_jax.errors import BadData, DamagedFile
from socialrec_jax.inference.parameters import parameter_shapes, shapes_of
from socialrec_jax.models.recommender import RecommenderModel
from socialrec_jax.runtime.run import RunDirectory


def check_finite(run: RunDirectory, step: Path, params: dict) -> None:
    """DamagedFile where a parameter is not a finite number: older programs saved such states."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        advice = f"train.py --run {run.path} goes on from the newest step that is whole"
        raise DamagedFile(step, "a parameter in it is not finite", advice)


def check_fits(run: RunDirectory, params: dict, model: RecommenderModel) -> None:
    """BadData unless parameters of an older program have the names and shapes of this model."""
    if shapes_of(params) != parameter_shapes(model):
        raise BadData(
            f"{run.path} was trained by a version whose model differs: train a new --run, or serve "
            "it with that version"
        )


def check_friends(run: RunDirectory, params: dict, model: RecommenderModel) -> None:
    """BadData where the parameters have a part for friends and the model none, or the reverse."""
    if ("social" in params) != bool(model.num_users):
        raise _changed_config(run, "model.social_queries")


def _changed_config(run: RunDirectory, setting: str) -> BadData:
    file = run.path / "config.json"
    return BadData(f"{file} was changed after the training ({setting}): put the former value back")


def check_settings(run: RunDirectory, about: dict, config: Config) -> None:
    """BadData where config.json is not the configuration that a checkpoint was trained with."""
    # through JSON, which knows no tuples
    now = json.loads(json.dumps(dataclasses.asdict(config)))
    for section in ("model", "seed", "split"):
        if differing := _difference(about.get("config", {}).get(section), now[section]):
            raise _changed_config(run, f"{section}{differing}")


def _difference(former: Any, now: Any) -> str | None:
    """The first value that two versions of a setting have both and that differs."""
    if isinstance(former, dict):
        both = (name for name in former if name in now and former[name] != now[name])
        both = (name for name in both if name != "social_queries")  # see `check_friends`
        return next((f".{name} was {former[name]}, is {now[name]}" for name in both), None)
    return f" was {former}, is {now}" if former not in (None, now) else None


def check_world(run: RunDirectory, about: dict, world: World, check_counts: bool) -> None:
    """BadData unless the World is the one a checkpoint was trained on, or a later generation."""
    if not world.descends_from(about.get("world")):
        raise BadData(f"{run.world} is not the data that {run.path} was trained on")
    if check_counts and about["counts"] != counts_of(world):
        raise BadData(
            f"{run.world} has grown to {world.num_users} users and {world.num_items} items since "
            f"{run.path} was trained: train a new --run on it"
        )


def counts_of(world: World) -> dict[str, int]:
    """How long the tables are that a model has of a World."""
    return {"users": world.num_users, "items": world.num_items}
