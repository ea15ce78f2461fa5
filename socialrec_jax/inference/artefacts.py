"""What a run keeps beside its checkpoints, opened with its checksums: features, texts, the record.

A file that is not what was written is a DamagedFile, which says what the file was made from.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from socialrec_jax import checksums
from socialrec_jax.data import world_checks
from socialrec_jax.data.features.ranker_features import RankerFeatures
from socialrec_jax.data.world import World
from socialrec_jax.errors import DamagedFile, InputMissing
from socialrec_jax.runtime.run import RunDirectory

VECTORS = "vectors.npy"
_REPORT_FILES = ("data.html", "report.json", "report.html")
log = logging.getLogger(__name__)

# ---- The World


def open_world(run: RunDirectory) -> World:
    """The run's World, whole. InputMissing where nothing was prepared."""
    if not run.world.is_dir():
        raise InputMissing(f"{run.world} holds no prepared data: train the run to its end first")
    world = World.open(run.world)
    world_checks.check_contents(world)
    return world


# ---- Features of the ranker


def features_folder(run: RunDirectory, refitted: bool) -> Path:
    return run.path / "features" / ("refit" if refitted else "evaluated")


def features_made_from(world: World, refitted: bool) -> dict:
    """What features are counted from, for their manifest."""
    events = "all" if refitted else "before validation"
    return {"world": world.manifest["hash"], "events": events}


def load_features(run: RunDirectory, world: World, refitted: bool) -> RankerFeatures:
    """The features that were counted from this World. DamagedFile where they are not."""
    folder = features_folder(run, refitted)
    advice = f"they are counted from {run.world}: train.py --run {run.path} counts them again"
    with advised(advice):
        _check_made_from(folder, world, features_made_from(world, refitted)["events"])
        features = RankerFeatures.load(folder)
        if features.num_items != world.num_items:
            what = f"it has {features.num_items} items, the World has {world.num_items}"
            raise DamagedFile(folder / "items.npy", what)
    return features


def _check_made_from(folder: Path, world: World, events: str) -> None:
    """DamagedFile where a manifest says that its folder belongs to another World or other events.

    A folder of an older program has no manifest, which the log says.
    """
    file = folder / checksums.MANIFEST
    if not file.exists():
        if folder.exists():
            log.warning("%s has no checksums: train.py --run RUN writes them", folder)
        return
    made_from = checksums.read(file).get("made_from", {})
    if not world.descends_from(made_from.get("world")) or made_from.get("events") != events:
        raise DamagedFile(file, "it belongs to another run")


# ---- Texts


def write_text_manifest(run: RunDirectory, world: World, key: str) -> None:
    """Describe the files in RUN/text, when all are written.

    key: a hash of what they follow from.
    """
    # Names with a dot at their beginning are temporary files of a killed process.
    names = [file.name for file in run.text.iterdir() if not file.name.startswith(".")]
    names = [name for name in names if name not in (checksums.MANIFEST, "key")]
    made_from = {"world": world.manifest["hash"], "events": "none", "key": key}
    checksums.write(run.text / checksums.MANIFEST, {"made_from": made_from}, names)


def load_texts(run: RunDirectory, world: World) -> np.ndarray:
    """The items' vectors of text and image [V, F], F = 0 where the items have neither."""
    file = run.text / VECTORS
    sources = f"{run.world} and {run.checkpoints / 'text'}"
    with advised(f"it is made from {sources}: train.py --run {run.path} makes it again"):
        _check_made_from(run.text, world, "none")
        check_text_files(run.text, [VECTORS])
        with checksums.readable(file):
            vectors = np.load(file)
            if vectors.dtype != np.float32 or vectors.shape[:-1] != (world.num_items,):
                raise ValueError(f"it holds {vectors.dtype}{list(vectors.shape)}")
            if not np.isfinite(vectors).all():
                raise ValueError("not all of its numbers are finite")
    return vectors


def check_text_files(folder: Path, names: Sequence[str] | None = None) -> None:
    """DamagedFile where files of a text folder (all by default) are not what was written."""
    manifest_file = folder / checksums.MANIFEST
    if manifest_file.exists():
        checksums.check_contents(folder, checksums.read(manifest_file), names)


# ---- The record of a run: its stages and its report


def write_record(run: RunDirectory, stages: Sequence[str] | None = None) -> None:
    """Write RUN/MANIFEST.json: checksums of the report, and the stages that are trained to their
    end; the recorded ones by default.
    """
    if stages is None:
        with contextlib.suppress(DamagedFile):
            stages = recorded_stages(run)
    # The page of the data is of the preparation, which a study of one World does once for all runs.
    names = [name for name in _REPORT_FILES if (run.path / name).exists()]
    checksums.write(run.path / checksums.MANIFEST, {"stages": stages}, names)


def recorded_stages(run: RunDirectory) -> list[str] | None:
    """The stages that this run has trained to their end; None where that is not recorded."""
    file = run.path / checksums.MANIFEST
    if not file.exists():
        return None
    with advised(f"train.py --run {run.path} writes it again"):
        return checksums.read(file).get("stages")


def read_report(run: RunDirectory) -> dict:
    """What report.json says, {} in a run without a report. DamagedFile where it is not what was
    written.
    """
    name = run.report.name
    with advised(f"train.py --run {run.path} writes it again"):
        file = run.path / checksums.MANIFEST
        manifest = checksums.read(file) if file.exists() else {}
        if name in manifest.get(checksums.FILES, {}):
            checksums.check_contents(run.path, manifest, [name])
        elif not run.report.exists():
            return {}
        with checksums.readable(run.report):
            return json.loads(run.report.read_text())


@contextlib.contextmanager
def advised(advice: str) -> Iterator[None]:
    """Damage in the block says what to do."""
    try:
        yield
    except DamagedFile as error:
        raise error.with_advice(advice) from None
