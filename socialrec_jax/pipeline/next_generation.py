"""The files of a run's next generation: World, texts, what is copied from the one before."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from socialrec_jax.config import Config, DataConfig, check
from socialrec_jax.config.update import UpdateConfig
from socialrec_jax.data import manifest as manifests
from socialrec_jax.data.impressions import Impressions
from socialrec_jax.data.prepare.append import append
from socialrec_jax.data.prepare.build import files_of
from socialrec_jax.data.prepare.formats import find_tables
from socialrec_jax.data.prepare.sniffing import TextOptions
from socialrec_jax.data.recommended import files_of_recommended, find_recommended
from socialrec_jax.data.world import World
from socialrec_jax.errors import InputMissing, UsageError, UserError
from socialrec_jax.files import replacing
from socialrec_jax.inference.artefacts import read_report, write_text_manifest
from socialrec_jax.inference.grow import grown_texts
from socialrec_jax.inference.load import RANKER, REFIT, REFIT_FOCUS, load_texts
from socialrec_jax.pipeline.shown_lists import keep_impressions
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory


def finished_before(generations: Generations, source: Path, settings: UpdateConfig) -> dict | None:
    """{"record": ...} of the generation that the same command has finished; it serves then."""
    current = generations.current
    for number in generations.finished():
        record = generations.record(number)
        # Finished but not promoted when the program was killed, or promoted already.
        if current not in (number, record["parent"]):
            continue
        world = World.open(generations.directory(record["parent"]).world)
        if record["key"] == _key(world, record["parent"], source, settings):
            generations.promote(number)
            return {"record": record}
    return None


def prepare_generation(generations: Generations, source: Path, config: Config) -> dict:
    """Append the tables to the World of the current generation; {number, parent, key}."""
    check(config)
    parent = generations.current
    before = generations.directory(parent)
    check_trained(before, config)
    world = World.open(before.world)
    key = _key(world, parent, source, config.update)
    # After a killed command the same key finds its folder again; another key empties it.
    number = generations.open_next(key)
    try:
        grown = append(world, source, generations.directory(number).world, drop_known=True)
    except UserError:
        generations.discard(number)
        raise
    write_texts(before, generations.directory(number), grown)
    # Lists without a time were made as of now, by the World before.
    shown_at = int(world.query_times().max(initial=0))
    known = Impressions.load(before.path)
    keep_impressions(generations.directory(number), source, grown, known, shown_at)
    return {"number": number, "parent": parent, "key": key}


def check_trained(run: RunDirectory, config: Config) -> None:
    """UsageError for a run that is still to be trained to its end."""
    stage = REFIT_FOCUS if config.train.focus else REFIT
    progress = Checkpoints(run.checkpoints / stage).newest_progress() or {}
    if config.train.refit and not progress.get("finished"):
        raise UsageError(f"{run.path} is not trained to its end: run train.py --run alone first")


def _key(world: World, parent: int, source: Path, settings: UpdateConfig) -> str:
    """A hash of all that a generation follows from, besides its parent's files."""
    options = TextOptions.of(DataConfig(**world.manifest["data"]))
    try:
        tables = find_tables(source, events_required=False, options=options)
    except InputMissing:
        _refuse_lists_alone(source)
        raise
    described = [manifests.describe(file, source) for file in files_of(tables)]
    described += [manifests.describe(file, source) for file in files_of_recommended(source)]
    parts = [parent, world.manifest["hash"], described, dataclasses.asdict(settings)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _refuse_lists_alone(source: Path) -> None:
    """A clear InputMissing for a folder whose only table are lists that came back."""
    if source.is_dir() and find_recommended(source) is not None:
        raise InputMissing(
            f"{source}: lists alone teach nothing, since only a user who came back has seen one; "
            "put the events that followed beside them"
        )


def write_texts(before: RunDirectory, run: RunDirectory, world: World) -> None:
    """The text encoder of a generation before, with the vectors of all items of World."""
    vectors = load_texts(before, World.open(before.world))
    if not before.text.exists():
        return
    # Copied, so that a generation can be moved or deleted alone.
    shutil.rmtree(run.text, ignore_errors=True)
    shutil.copytree(before.text, run.text)
    with replacing(run.text / "vectors.npy") as temporary:
        np.save(temporary, grown_texts(before.text, vectors, world.items))
    write_text_manifest(run, world, (run.text / "key").read_text())


def copy_ranker(parent: RunDirectory, run: RunDirectory) -> None:
    """The ranker of the generation before; its weights do not depend on the World's size."""
    before = parent.checkpoints / RANKER
    if before.exists():
        target = run.checkpoints / RANKER
        # A killed command may have copied a part, and copytree refuses a folder that exists.
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(before, target)


def expected_accuracy(generations: Generations) -> float | None:
    """NDCG@10 of the newest accepted events before they were learnt; at first, on the test part."""
    number = generations.current
    # An append without events was not evaluated; its parent may have been.
    while number:
        record = generations.record(number)
        if record["before"] is not None:
            return record["before"]["ndcg@10"]
        number = record["parent"]
    test = read_report(generations.run).get("test", {})
    evaluated = test.get("ranker") or test.get("retriever")
    return evaluated["ndcg@10"] if evaluated else None
