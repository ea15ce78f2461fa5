"""Every file of a run compared with what was written, without changing any."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from socialrec_jax import checksums
from socialrec_jax.data import impressions, world_checks
from socialrec_jax.data.world import World
from socialrec_jax.errors import DamagedFile, DiskError
from socialrec_jax.inference.artefacts import check_text_files, features_folder, load_features
from socialrec_jax.inference.load import load_run
from socialrec_jax.pipeline import learning_rate
from socialrec_jax.runtime.checkpoint import Checkpoints
from socialrec_jax.runtime.generations import Generations
from socialrec_jax.runtime.run import RunDirectory

log = logging.getLogger(__name__)


def verify(path: Path) -> None:
    """Print what is whole, of all generations. Raises DiskError with the number of damages, each
    one in the log.

    InputMissing where there is no run.
    """
    RunDirectory(path).config()
    damages = []
    for part, check in _all_checks(Generations(RunDirectory(path))):
        try:
            check()
        except DamagedFile as error:
            log.warning("%s", error)
            damages.append(error)
        else:
            print(f"whole  {part}", flush=True)
    if damages:
        raise DiskError(f"{path} has {len(damages)} damaged parts, first {damages[0]}")


def _all_checks(generations: Generations) -> Iterator[tuple[str, Callable[[], object]]]:
    """The name of each part of each generation with what reads all of it."""
    # The one that serves may have lost its record.
    added = sorted({*generations.finished(), generations.current} - {0})
    for number in (0, *added):
        prefix = f"generation {number}: " if added else ""
        run = generations.directory(number)
        for part, check in _checks(run, World.open(run.world)):
            yield prefix + part, check
        if number:
            yield f"{prefix}update.json", lambda n=number: generations.record(n)

    if learning_rate.file_of(generations.run).exists():
        config = generations.run.config()
        yield "learning rates", lambda: learning_rate.at_start(generations.run, config)
    if (generations.directory(generations.current).path / checksums.MANIFEST).exists():
        # what is there is whole; what should be there is what serving reads
        yield "what serves", lambda: load_run(generations.run.path, refitted=True)


def _checks(run: RunDirectory, world: World) -> Iterator[tuple[str, Callable[[], object]]]:
    """The name of each part with what reads all of it."""

    def check_world() -> None:
        world_checks.check_contents(world)
        world_checks.check_numbers(world)

    yield "world", check_world
    if run.text.exists():
        yield "text", lambda: check_text_files(run.text)
    for refitted in (False, True):
        if features_folder(run, refitted).exists():
            part = "features of all events" if refitted else "features"
            # A default value is bound now; a closure would read the loop's variable later.
            yield part, lambda r=refitted: load_features(run, world, r)
    for folder in sorted(path for path in run.checkpoints.glob("*") if path.is_dir()):
        checkpoints = Checkpoints(folder)
        for step in checkpoints.steps():
            yield f"checkpoint {folder.name}/{step}", lambda c=checkpoints, s=step: c.check(s)
    if (run.path / impressions.FILE).exists():
        # Reading compares the checksum in the file.
        yield "lists that came back", lambda: impressions.Impressions.load(run.path)
    if (run.path / checksums.MANIFEST).exists():
        yield "report", lambda: _check_record(run)


def _check_record(run: RunDirectory) -> None:
    manifest = checksums.read(run.path / checksums.MANIFEST)
    try:
        checksums.check_contents(run.path, manifest)
    except DamagedFile as error:
        raise error.with_advice(f"train.py --run {run.path} writes it again") from None
