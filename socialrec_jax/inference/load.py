"""A run directory to the parts of an engine: config, World, model, the best averaged parameters."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from socialrec_jax.config import Config
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import BEFORE_VALIDATION, NOW, World
from socialrec_jax.errors import DamagedFile, InputMissing, UsageError
from socialrec_jax.inference.artefacts import (
    advised,
    load_features,
    load_texts,
    open_world,
    recorded_stages,
)
from socialrec_jax.inference.artefacts import (
    features_folder as features_folder,
)
from socialrec_jax.inference.capacity import without_padding
from socialrec_jax.inference.load_checks import (
    check_finite,
    check_fits,
    check_friends,
    check_settings,
    check_world,
    counts_of,
)
from socialrec_jax.models.embedding_tables import in_number_order, merge_tables
from socialrec_jax.models.recommender import PARAMETERS_VERSION, RecommenderModel
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.generations import current_generation
from socialrec_jax.runtime.run import RunDirectory

# The stages whose checkpoints serve.
RETRIEVER, FOCUS, RANKER = "retriever", "focus", "ranker"
REFIT, REFIT_FOCUS = "refit", "refit-focus"
log = logging.getLogger(__name__)


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

    Raises InputMissing when path holds no trained run, DamagedFile when a file is not what was
    written, or when a stage is not there that the run has trained.
    """
    run = current_generation(path)
    config = run.config()
    world = open_world(run)
    texts = load_texts(run, world)

    refitted = refitted and _is_trained(run, refit_stage(config), expected=config.train.refit)
    if not refitted:
        # For its error alone: a lost checkpoint must not pass for a stage without training.
        _is_trained(run, evaluated_stage(config), expected=False)
    served = refit_stage(config) if refitted else evaluated_stage(config)
    model = model_for(config, world, texts.shape[1])
    learnt = world.history_ends(NOW if refitted else BEFORE_VALIDATION)
    ranker, features = _load_ranker(run, world, config, refitted)
    return Loaded(
        world=world,
        config=config,
        model=model,
        params=_restore(run, served, world, config, model),
        texts=texts,
        known=items_with_events(world, learnt),
        ranker=ranker,
        features=features,
    )


def evaluated_stage(config: Config) -> str:
    """The stage whose retriever is evaluated."""
    return FOCUS if config.train.focus else RETRIEVER


def refit_stage(config: Config) -> str:
    """The stage whose retriever has learnt from all events."""
    return REFIT_FOCUS if config.train.focus else REFIT


def trained_stages(config: Config, has_ranker: bool) -> list[str]:
    """The stages of a run that is at its end."""
    stages = [evaluated_stage(config)]
    stages += [RANKER] if has_ranker else []
    return stages + ([refit_stage(config)] if config.train.refit else [])


def trained_world(run: RunDirectory) -> str | None:
    """The hash of the World that a run was trained on, by its newest retriever; None without."""
    checkpoints = Checkpoints(run.checkpoints / RETRIEVER)
    whole = [step for step in checkpoints.steps() if checkpoints.damaged_file(step) is None]
    return checkpoints.about_step(whole[-1]).get("world") if whole else None


def _is_trained(run: RunDirectory, stage: str, *, expected: bool) -> bool:
    """Whether a stage was trained to its end.

    The log says where an expected one was not. Raises DamagedFile where the run has trained it.
    """
    folder = run.checkpoints / stage
    with advised(f"train.py --run {run.path} goes on from the newest whole step"):
        progress = Checkpoints(folder).newest_progress()
    if progress and progress.get("finished"):
        return True
    recorded = recorded_stages(run)
    if recorded is not None and stage in recorded:
        what = "the run has trained this stage, and its newest checkpoint is gone"
        raise DamagedFile(folder, what, f"train.py --run {run.path} trains it again")
    if expected and recorded is None:
        log.warning("%s is not trained to its end: the answers are without it", folder)
    return False


def _load_ranker(
    run: RunDirectory, world: World, config: Config, refitted: bool
) -> tuple[dict | None, RankerFeatures | None]:
    """The ranker's parameters and features; None in a run without ranker.

    The ranker is trained once. Its features are counted anew for the refitted model.
    """
    if not _is_trained(run, RANKER, expected=True):
        return None, None
    params = serving_member(_restore(run, RANKER, world, config))
    return params, load_features(run, world, refitted)


def _restore(
    run: RunDirectory,
    stage: str,
    world: World,
    config: Config,
    model: RecommenderModel | None = None,
) -> dict:
    """The parameters of a stage at its best: averages, and the tables that have none.

    model: the one that they must fit.
    """
    checkpoints = Checkpoints(run.checkpoints / stage)
    with advised(f"train.py --run {run.path} goes on from the newest whole step"):
        best = checkpoints.best_step()
        if best is None:
            raise InputMissing(f"{run.path} holds no checkpoint yet: train the run first")
        checkpoints.check(best)
        about = checkpoints.about_step(best)
        # The ranker has no tables, so that it fits a World of any size.
        check_world(run, about, world, check_counts=stage != RANKER)
        check_settings(run, about, config)
        rows = {"items": world.num_items, "users": world.num_users}
        saved = checkpoints.restore_parts(best, "average", "tables")
        tables = {
            name: in_number_order(table["rows"], rows[name])
            for name, table in saved["tables"].items()
        }
        params = merge_tables(saved["average"], tables)
    check_finite(run, checkpoints.folder / str(best), params)
    if model is not None:
        check_friends(run, params, model)
        params = without_padding(params, model)
    # For another version alone, because the comparison traces the model.
    if model is not None and about.get("parameters") != PARAMETERS_VERSION:
        check_fits(run, params, model)
    return params


def serving_member(params: dict) -> dict:
    """The ranker that learnt from all held-out events, of the ones trained side by side."""
    # On the host: a slice on devices is a program for each shape.
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], params)


def items_with_events(world: World, history_ends: np.ndarray) -> np.ndarray:
    """Which items [V] bool have a visible event, before history_ends [U]."""
    visible = world.events.items[world.events.visible(history_ends)]
    return np.bincount(visible, minlength=world.num_items) > 0


def focus_of(config: Config, world: World) -> tuple[int, ...]:
    """Numbers of the event types in focus; without a focus those of `wanted_types`. Raises
    UsageError for a type that the World lacks, and for a refusal in focus.
    """
    focus = _type_numbers(world, config.train.focus, "--train.focus")
    refused = sorted(set(config.train.focus) & set(config.train.refusals))
    if refused:
        raise UsageError(f"--train.focus and --train.refusals both name {refused[0]}: choose one")
    return focus or wanted_types(config, world)


def wanted_types(config: Config, world: World) -> tuple[int, ...]:
    """Numbers of the event types that are no refusals; none where no type is a refusal."""
    refusals = _type_numbers(world, config.train.refusals, "--train.refusals")
    if not refusals:
        return ()
    wanted = tuple(n for n in range(len(world.event_types)) if n not in refusals)
    if not wanted:
        raise UsageError("--train.refusals names all event types: nothing is left to recommend by")
    return wanted


def _type_numbers(world: World, names: Sequence[str], option: str) -> tuple[int, ...]:
    unknown = [name for name in names if name not in world.event_types]
    if unknown:
        raise UsageError(
            f"{option} {unknown[0]}: the event types here are {', '.join(world.event_types)}"
        )
    return tuple(world.event_types.index(name) for name in names)


def about(config: Config, world: World) -> dict:
    """What a checkpoint says of itself: it opens with this World, model and event types alone."""
    return {
        "world": world.manifest["hash"],
        "counts": counts_of(world),
        "config": dataclasses.asdict(config),
        "event_types": world.event_types,
        "parameters": PARAMETERS_VERSION,
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
