"""Ten days of the feedback loop: never updated, updated, retrained from nothing, day by day.

    python -m benchmarks.loop --out runs/loop                       a small synthetic shop
    python -m benchmarks.loop --out DIR --data TABLES --preset base  tables cut by time

Writes OUT/loop.json after every day, and OUT/loop.html. The same command goes on where it was
stopped.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from socialrec_jax.config import PRESETS, Config
from socialrec_jax.errors import InputMissing, UsageError
from socialrec_jax.runtime import cli


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Days of a shop."""

    out: Annotated[Path, arg(metavar="DIR")]
    """Folder of the runs, the figures and the page."""
    data: Annotated[Path | None, arg(metavar="DIR")] = None
    """Parquet tables to cut; by default a small synthetic shop."""
    preset: Literal["tiny", "base"] = "tiny"
    """Sizes of the model."""
    days: int = 10
    """Periods after the first part, with equally many events."""
    first_share: float = 0.7
    """Share of the events that the first model learns from."""
    poisoned: int = 5
    """The day to which random events are added before the good ones come; 0: none."""
    retrain_every: int = 3
    """Days after which a model is trained from nothing, too; 0: never."""
    epochs: int | None = None
    """Passes of trainings from nothing; by default what the configuration says."""
    update_epochs: int | None = None
    """Passes of updates; by default what the configuration says."""
    replay: float | None = None
    """Replayed events for each new one; by default what the configuration says."""
    seed: int = 0
    """Of the shop and all trainings."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: list[str] | None = None) -> None:
    """What `make loop` calls."""
    cli.main(execute, arguments)


def execute(arguments: list[str]) -> None:
    """Train on the first part, then go through the days."""
    options = cli.parse(
        Options, args=arguments, prog="python -m benchmarks.loop", description=__doc__
    )
    cli.prepare_jax(options.out)
    from benchmarks.output.loop_page import page
    from socialrec_jax.files import write_atomically

    folders = _tables(options)
    results = _days(options, folders)
    write_atomically(options.out / "loop.html", page(results))
    print(f"page  {options.out / 'loop.html'}", flush=True)


def _tables(options: Options) -> list[Path]:
    """The folders of the first part and of each day."""
    from benchmarks.work.periods import write_periods
    from socialrec_jax.data.synthetic import write_tables

    _check(options)
    source = options.data
    if source is None:
        source = options.out / "shop"
        if not (source / "users.parquet").exists():
            write_tables(
                source, num_users=600, num_items=200, events_per_user=16, seed=options.seed
            )
    return write_periods(source, options.out / "tables", options.days, options.first_share)


def _check(options: Options) -> None:
    """Raises UsageError for numbers that cannot be right, InputMissing without tables."""
    if options.days < 1 or not 0 < options.first_share < 1:
        raise UsageError("choose --days from 1 on, and --first-share between 0 and 1")
    if options.data is not None and not (options.data / "events.parquet").is_file():
        raise InputMissing(
            f"{options.data / 'events.parquet'}: no such file; periods are cut of it"
        )


def _days(options: Options, folders: list[Path]) -> dict:
    """All days one after the other; loop.json holds those that are done."""
    from benchmarks.work.feedback_loop import run_day
    from socialrec_jax.files import write_atomically
    from socialrec_jax.pipeline.run import train
    from socialrec_jax.runtime.run import RunDirectory

    run = RunDirectory(options.out / "run")
    config = run.config() if run.exists else _config(options)
    file = options.out / "loop.json"
    results: dict[str, Any] = {"days": []}
    if file.exists():
        results = json.loads(file.read_text())
    if not results["days"]:
        shutil.rmtree(run.path / "generations", ignore_errors=True)
        (run.path / "generation.json").unlink(missing_ok=True)
        # A first model that is trained to its end is not evaluated again.
        if not run.report.exists():
            train(run, folders[0], config)
        report = json.loads(run.report.read_text())
        results["first"] = {name: report["test"][name] for name in report["test"]}
    config = run.config()
    done = len({day["number"] for day in results["days"] if day["accepted"]})

    with run.lock():
        for number in range(done + 1, len(folders)):
            for tables in _folders_of_day(options, run, folders, number):
                every, is_last = options.retrain_every, number == len(folders) - 1
                retrain = bool(every) and number % every == 0 and not is_last
                day = run_day(run, number, tables, config, retrain)
                print(f"day {number}  {day.outcome}", flush=True)
                results["days"].append(dataclasses.asdict(day))
                write_atomically(file, json.dumps(results, indent=1) + "\n")
    return results


def _folders_of_day(options: Options, run, folders: list[Path], number: int) -> list[Path]:
    """The tables that arrive on a day: on one of them, with random events first."""
    from benchmarks.work.feedback_loop import poison
    from socialrec_jax.data.world import World

    tables = folders[number]
    if number != options.poisoned:
        return [tables]
    known = World.open(run.world)
    return [poison(tables, known, options.out / "tables" / "poisoned", options.seed), tables]


def _config(options: Options) -> Config:
    config = PRESETS[options.preset]()
    update = config.update
    if options.update_epochs is not None:
        update = dataclasses.replace(update, epochs=options.update_epochs)
    if options.replay is not None:
        update = dataclasses.replace(update, replay=options.replay)
    config = dataclasses.replace(config, seed=options.seed, update=update)
    epochs = options.epochs
    if options.data is None:
        # Ten days in minutes: few passes.
        text = dataclasses.replace(config.text, epochs=2)
        config = dataclasses.replace(config, text=text)
        epochs = epochs or 20
    if epochs is not None:
        train = dataclasses.replace(config.train, epochs=epochs, evaluations=4)
        config = dataclasses.replace(config, train=train)
    return config


if __name__ == "__main__":
    main()
