"""What is damaged in a run and can be made again: one line says so, and the stage makes it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

from socialrec_jax import checksums
from socialrec_jax.data.features.item_knn import ItemKNNSettings
from socialrec_jax.data.features.ranker_features import RankerFeatures, write_manifest
from socialrec_jax.data.world import World
from socialrec_jax.errors import DamagedFile
from socialrec_jax.files import writing
from socialrec_jax.inference.artefacts import (
    VECTORS,
    advised,
    check_text_files,
    features_folder,
    features_made_from,
    load_features,
    load_texts,
    recorded_stages,
    write_text_manifest,
)
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.generations import UPDATE_RECORD
from socialrec_jax.runtime.run import RunDirectory

log = logging.getLogger(__name__)


def count_features_once(
    run: RunDirectory, world: World, refitted: bool, count: Callable[[], RankerFeatures]
) -> None:
    """Write what count() gives, unless it is there and whole."""
    if not _has_whole_features(run, world, refitted):
        made_from = features_made_from(world, refitted)
        counted, folder = count(), features_folder(run, refitted)
        with writing(folder):
            counted.save(folder, made_from)


def settings_of_other_features(run: RunDirectory, refitted: bool) -> ItemKNNSettings | None:
    """The item-kNN settings of the other features of a run, which are always the same; None where
    they are not there or not whole.
    """
    folder = features_folder(run, not refitted)
    if not (folder / checksums.MANIFEST).exists():
        return None
    try:
        return RankerFeatures.load(folder).settings
    except DamagedFile:
        return None


def check_appended(run: RunDirectory) -> None:
    """DamagedFile where models or texts of a generation that --add made are damaged.

    A training would make other ones, and `run` would be another model without a word.
    """
    if not (run.path / UPDATE_RECORD).exists():
        return
    root, number = run.path.parents[1], run.path.name
    advice = (
        f"train.py --run {root} --rollback, delete {run.path}, and give --add once more with the "
        f"tables of generation {number}"
    )
    with advised(advice):
        load_texts(run, World.open(run.world))
        check_text_files(run.text)
        for stage in recorded_stages(run) or []:
            folder = run.checkpoints / stage
            if Checkpoints(folder).newest_progress() is None:
                raise DamagedFile(folder, "it is missing")


def _has_whole_features(run: RunDirectory, world: World, refitted: bool) -> bool:
    folder = features_folder(run, refitted)
    manifest = folder / checksums.MANIFEST
    if not folder.exists() or not any(folder.iterdir()):
        return False
    # A kill before the manifest leaves files, and so did older programs.
    if not manifest.exists() and not (folder / "settings.json").exists():
        return False
    try:
        if not manifest.exists():
            # Loaded first: checksums of a damaged file would make it pass for whole.
            RankerFeatures.load(folder)
            write_manifest(folder, features_made_from(world, refitted))
        load_features(run, world, refitted)
    except DamagedFile as error:
        say_made_again(error)
        return False
    return True


def has_whole_texts(run: RunDirectory, world: World, key: str) -> bool:
    """Whether RUN/text is there and whole; checksums are added where there are none."""
    if not (run.text / VECTORS).exists() and not (run.text / checksums.MANIFEST).exists():
        return False
    try:
        if not (run.text / checksums.MANIFEST).exists():
            write_text_manifest(run, world, key)
        check_text_files(run.text)
        load_texts(run, world)
    except DamagedFile as error:
        say_made_again(error)
        return False
    return True


def delete_damaged_stage(run: RunDirectory, stage: str) -> None:
    """Delete the checkpoints of a stage of which none is whole, so that it is trained again."""
    checkpoints = Checkpoints(run.checkpoints / stage)
    damaged = {step: checkpoints.damaged_file(step) for step in checkpoints.steps()}
    # With one whole step, training goes on from there.
    if damaged and all(damaged.values()):
        step, name = next(iter(damaged.items()))
        file = checkpoints.folder / str(step) / str(name)
        log.warning("%s is damaged, and no step is whole: the stage is trained again", file)
        shutil.rmtree(checkpoints.folder)


def say_made_again(error: DamagedFile) -> None:
    """One line with what is damaged."""
    log.warning("%s is damaged (%s): it is made again", error.file, error.what)
