"""Train a recommender: raw tables in, a run directory with checkpoints, figures and a report out.

    python train.py                                   the embedded sample shop, into runs/sample
    python train.py --data DIR --run RUN              your own tables
    python train.py --run RUN                         resumes RUN
    python train.py --run RUN --verify                compares every file with what was written
    python train.py --run RUN --add DIR               goes on from RUN with the new tables in DIR
    python train.py --run RUN --rollback              one generation back
    python train.py --run RUN --forget FILE           forgets users and items, as if never seen
    python train.py --version                         what is installed; all programs say it

How a run resumes:
    1. A RUN without config.json is new. The options and the data make its configuration.
    2. A RUN with config.json keeps it. An option with another value is an error.
    3. A prepared World of the same data is used again. Other data are an error.
    4. A stage restores its newest whole checkpoint. Damaged ones are named and skipped.
    5. A finished stage is not trained again. Evaluation and report are always written anew.

docs/loop.md says how --add and --forget work.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before all other imports, which take seconds.
    from socialrec_jax.runtime.memory import use_huge_pages
    from socialrec_jax.runtime.signals import exit_at_once

    exit_at_once()
    use_huge_pages()

import dataclasses
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from socialrec_jax.config import PRESETS, Config
from socialrec_jax.errors import UsageError
from socialrec_jax.runtime import cli

if TYPE_CHECKING:
    from socialrec_jax.runtime.run import RunDirectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Train a recommender for a social shop."""

    source: Annotated[Path | None, tyro.conf.arg(name="data", metavar="DIR")] = None
    """Folder of raw tables; without it the embedded sample shop."""
    run: Annotated[Path, tyro.conf.arg(metavar="RUN")] = Path("runs/sample")
    """Run directory; an existing one is resumed."""
    add: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of new tables that a trained RUN learns from; --update.* says how."""
    rollback: bool = False
    """Let the generation before the last --add serve again."""
    forget: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Users (.txt, one a line), or a table with columns user or item, that RUN must forget."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A config.json to start from instead of a preset."""
    verify: bool = False
    """Compare every file of RUN with what was written, and change none."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the arguments say, by default those of the command line; exit by the contract."""
    cli.main(run_training, arguments)


def run_training(arguments: list[str]) -> None:
    started_at = time.perf_counter()

    # ---- Options: a preset or a file, and the command line over it
    options, config = read_options(arguments)

    # ---- JAX: imported after its settings, so that --help is fast
    cli.prepare_jax(options.run)
    from socialrec_jax.runtime import launch, processes
    from socialrec_jax.runtime.run import RunDirectory
    from socialrec_jax.runtime.timeline import timeline

    if options.verify:
        _check_alone(options)
        from socialrec_jax.pipeline.verify import verify

        verify(options.run)
        return

    # ---- Processes: one, or those that the launcher started; process 0 writes for all
    launch.initialize()

    # ---- One writer: a new training, or another generation of a trained run
    run = RunDirectory(options.run)
    is_training = not (options.add or options.rollback or options.forget)
    if not is_training:
        _check_trained_run(run, options)
    with processes.held_by_main(run.lock()):
        writes_timeline = processes.is_main() and is_training
        timeline.begin(run.timeline if writes_timeline else None, started_at)
        if options.forget:
            _forget(run, options.forget, config)
            return
        _finish_erasure(run)
        if options.rollback:
            _roll_back(run)
        elif options.add:
            _add(run, options.add, config)
        else:
            _train(run, options.source, config)


def _train(run: RunDirectory, source: Path | None, config: Config) -> None:
    from socialrec_jax.pipeline.console import print_summary
    from socialrec_jax.pipeline.run import train

    # pipeline/run.py has the stages in their order.
    report = train(run, source, config)
    print_summary(run, report)


def _check_kept_settings(run: RunDirectory, config: Config) -> None:
    from socialrec_jax.pipeline.settings import check_settings

    # How to update may change from one generation to the next.
    check_settings(run, dataclasses.replace(config, update=run.config().update))


def _forget(run: RunDirectory, file: Path, config: Config) -> None:
    from socialrec_jax.pipeline.forget import forget
    from socialrec_jax.runtime import processes

    _check_kept_settings(run, config)
    done = forget(run, file, config)
    if processes.is_main():
        print(done, flush=True)


def _finish_erasure(run: RunDirectory) -> None:
    from socialrec_jax.pipeline import erasure
    from socialrec_jax.runtime import processes

    def finish() -> str | None:
        finished = erasure.finish(run)
        return finished and finished.said

    done = processes.broadcast_from_main(finish)
    if done and processes.is_main():
        print(f"an interrupted --forget is finished: {done}", flush=True)


def _add(run: RunDirectory, source: Path, config: Config) -> None:
    from socialrec_jax.pipeline.update import add, summary
    from socialrec_jax.runtime import processes

    _check_kept_settings(run, config)
    record = add(run, source, config)
    if processes.is_main():
        print(summary(record), flush=True)


def _roll_back(run: RunDirectory) -> None:
    from socialrec_jax.runtime import processes
    from socialrec_jax.runtime.generations import Generations

    number = processes.broadcast_from_main(Generations(run).roll_back)
    if processes.is_main():
        print(f"generation {number} serves again", flush=True)


def _check_alone(options: Options) -> None:
    """UsageError for what --verify would pass over in silence."""
    others = {
        "data": options.source,
        "add": options.add,
        "rollback": options.rollback,
        "forget": options.forget,
    }
    for name, value in others.items():
        if value:
            raise UsageError(f"--verify changes nothing: leave --{name} out")


def _check_trained_run(run: RunDirectory, options: Options) -> None:
    """UsageError for options that do not go together; InputMissing without a run."""
    run.config()
    given = [name for name in ("add", "rollback", "forget") if getattr(options, name)]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]}: give one of them")
    if options.source:
        raise UsageError(f"--data starts a run, --{given[0]} goes on with one: give one of them")


def read_options(arguments: list[str]) -> tuple[Options, Config]:
    """All options, and the configuration in them."""
    _check_not_empty(arguments)
    default = Options(**_settings(_default_config(arguments)))
    options = cli.parse(
        Options, args=arguments, default=default, prog="train.py", description=__doc__
    )
    if options.run.is_file():
        raise UsageError(f"--run {options.run} is a file: name a folder")
    return options, Config(**_settings(options))


def _check_not_empty(arguments: list[str]) -> None:
    """UsageError for an empty path, which would stand for the working folder."""
    # Most often a variable of the shell that is not set.
    for option in ("--data", "--run", "--add", "--forget", "--config"):
        if (option, "") in itertools.pairwise(arguments) or f"{option}=" in arguments:
            raise UsageError(f"{option} is empty: name a path")


def _settings(config: Config) -> dict:
    """The fields of a Config, without the options that are no part of it."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}


def _default_config(arguments: list[str]) -> Config:
    """What the options change: RUN's own configuration, a file, or a preset.

    It decides the defaults that tyro shows, so these three options are read before all others.
    """
    values = dict(itertools.pairwise(arguments))
    values |= dict(argument.split("=", 1) for argument in arguments if "=" in argument)

    kept = Path(values.get("--run", Options.run), "config.json")
    file = kept if kept.exists() else values.get("--config")
    if file:
        from socialrec_jax.runtime.run import read_config

        return read_config(Path(file))

    default = "base" if "--data" in values else "tiny"
    preset = values.get("--preset", default)
    return PRESETS.get(preset, PRESETS[default])()


if __name__ == "__main__":
    main()
