"""The end of `--forget`: the new generation serves, and what learnt from the forgotten is erased.

RUN/forgetting.json says what is to be erased, without any id. It is written when the new models are
whole, and deleted when all is done: any later command finishes what a kill interrupted. At each
moment either the generation before serves or the new one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from socialrec_jax import checksums
from socialrec_jax.data.world_files import MANIFEST, read_manifest, write_manifest
from socialrec_jax.errors import DamagedFile
from socialrec_jax.files import replacing, write_atomically
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory

# What trainings write into a run directory, and what was recommended with them.
TRAINED = (
    *("world", "checkpoints", "text", "features", "tensorboard", "sample", "MANIFEST.json"),
    "impressions.npz",
    *("metrics.jsonl", "bad_steps.jsonl", "learning_rates.jsonl", "timeline.json"),
    *("data.html", "report.json", "report.html", "recommendations.parquet"),
)
REJECTS = "rejected.parquet"
_PENDING, _RECORD = "forgetting.json", "forgotten.json"
_KEPT_IN_GENERATION = ("key", "update.json", "config.json", "lock")


@dataclasses.dataclass(frozen=True)
class Erasure:
    """What is left to do when the models without the forgotten are whole."""

    number: int  # of the generation that serves from now on
    becomes_first: bool  # trained from nothing: it takes the place of the run's first generation
    erased: list[str]  # paths in the run
    said: str  # what the record and the last line say
    is_moved: bool = False  # the generation lies at its place


def begin(run: RunDirectory, erasure: Erasure) -> None:
    """From here on, every command finishes the erasure."""
    checksums.write_sealed(run.path / _PENDING, dataclasses.asdict(erasure))


def pending(run: RunDirectory) -> Erasure | None:
    """The erasure that a killed command has left."""
    file = run.path / _PENDING
    if not file.exists():
        return None
    try:
        with checksums.readable(file):
            return Erasure(**checksums.read_sealed(file))
    except DamagedFile as error:
        advice = "it says what --forget still has to erase: delete it, and give --forget once more"
        raise error.with_advice(advice) from None


def finish(run: RunDirectory) -> Erasure | None:
    """Finish the erasure that was begun, and return it; None where there is none."""
    erasure = pending(run)
    if erasure is None:
        return None
    generations = Generations(run)
    if not erasure.is_moved:
        # First serve, then erase: a kill in between leaves a whole model and a rest to erase.
        generations.promote(erasure.number)
        for name in erasure.erased:
            _erase(run.path / name)
    if erasure.becomes_first:
        _make_first(generations, erasure)
    _record(run, erasure)
    (run.path / _PENDING).unlink()
    return erasure


def _make_first(generations: Generations, erasure: Erasure) -> None:
    """Put the files of a generation into the run itself, which has no other ones then."""
    run = generations.run
    if not erasure.is_moved:
        # By links: the generation serves until all files lie at their place.
        for source in sorted(generations.directory(erasure.number).path.iterdir()):
            if source.name not in _KEPT_IN_GENERATION:
                _link(source, run.path / source.name)
        # From here on the links are not made again, for what they point at goes next.
        begin(run, dataclasses.replace(erasure, is_moved=True))
    generations.promote(0)
    shutil.rmtree(generations.folder, ignore_errors=True)
    (run.path / "generation.json").unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """A second name of a file, or of all files in a folder."""
    # A killed command may have made a part.
    _delete(target)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_file)
    else:
        _link_file(source, target)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # some file systems have no links
        shutil.copy2(source, target)


def _erase(path: Path) -> None:
    if path.name == REJECTS and (path.parent / MANIFEST).exists():
        _empty_rejects(path)
    else:
        _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _empty_rejects(file: Path) -> None:
    """A World keeps the file of its rejected rows, whose values may hold anything."""
    # The manifest names the file, so it stays, without rows.
    with replacing(file) as temporary:
        pq.write_table(pq.read_schema(file).empty_table(), temporary)
    write_manifest(file.parent, read_manifest(file.parent))


def _record(run: RunDirectory, erasure: Erasure) -> None:
    """Add what was done to RUN/forgotten.json, which names nobody."""
    records = recorded(run)
    record = {"done": erasure.said, "from_nothing": erasure.becomes_first}
    write_atomically(run.path / _RECORD, json.dumps([*records, record], indent=1) + "\n")


def recorded(run: RunDirectory) -> Sequence[dict]:
    """What --forget has done to a run, the oldest first."""
    file = run.path / _RECORD
    if not file.exists():
        return []
    with checksums.readable(file):
        return json.loads(file.read_text())


def files_of(run: RunDirectory, without: Sequence[str] = ()) -> list[Path]:
    """All files of a run but those in some of its paths, links to files elsewhere left out."""
    left_out = [run.path / name for name in without]
    files = (file for file in run.path.rglob("*") if file.is_file() and not file.is_symlink())
    return sorted(file for file in files if not any(file.is_relative_to(path) for path in left_out))
