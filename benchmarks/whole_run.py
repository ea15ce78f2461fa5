"""A whole run on a made-up shop of any size, whose retriever stops after some steps.

    python -m benchmarks.whole_run --out runs/whole --users 1000000 --items 1000000

Everything but the retriever's epochs is what `train.py` does: texts of all items, candidates and
the ranker, evaluation, and what is counted for serving. The last line is one JSON object with the
seconds of each stage, and RUN/report.html has them, too.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import time
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from socialrec_jax.config import Config, base
from socialrec_jax.runtime import cli


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes of the shop and of its model."""

    out: Annotated[Path, arg(metavar="DIR")]
    """Folder of the shop's tables and of the run; a run in it goes on."""
    users: int = 200_000
    """Users of the shop."""
    items: int = 200_000
    """Items of the shop."""
    events_per_user: int = 20
    """Their mean."""
    steps: int = 200
    """Steps of the retriever at most."""
    evaluated: int = 50_000
    """Users evaluated at most on each part."""
    width: int = 64
    """Size of user and item vectors."""
    pretrained: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder text/ of another run: its language model is taken as it is, and none is trained."""
    texts: bool = True
    """Whether products have texts; without them there is no language model."""
    seed: int = 0
    """Of the shop and of all trainings."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: list[str] | None = None) -> None:
    """What `python -m benchmarks.whole_run` calls."""
    cli.main(execute, arguments)


def execute(arguments: list[str]) -> None:
    """Make the shop where there is none, train on it, and print where the time went."""
    started_at = time.perf_counter()
    options = cli.parse(
        Options, args=arguments, prog="python -m benchmarks.whole_run", description=__doc__
    )
    cli.prepare_jax(options.out / "run")
    from benchmarks.work.whole_run import train_some_steps
    from socialrec_jax.runtime.run import RunDirectory
    from socialrec_jax.runtime.timeline import timeline

    run = RunDirectory(options.out / "run")
    with run.lock():
        timeline.begin(run.timeline, started_at)
        with timeline.stage("making the shop"):
            tables = _tables(options)
        train_some_steps(run, tables, _config(options), options.steps, options.texts)
    print(json.dumps(_summary(timeline.to_json())))


def _tables(options: Options) -> Path:
    from socialrec_jax.data.synthetic import write_tables

    folder = options.out / "shop"
    # users.parquet is written last.
    if not (folder / "users.parquet").exists():
        write_tables(
            folder,
            num_users=options.users,
            num_items=options.items,
            events_per_user=options.events_per_user,
            seed=options.seed,
        )
    return folder


def _config(options: Options) -> Config:
    config = base()
    model = dataclasses.replace(config.model, width=options.width)
    # One epoch and one validation: the number of steps ends the training before.
    train = dataclasses.replace(config.train, epochs=1, evaluations=1)
    text = config.text
    if options.pretrained is not None:
        pretrained = str(options.pretrained.absolute())
        text = dataclasses.replace(text, pretrained=pretrained, epochs=0)
    evaluation = dataclasses.replace(config.evaluation, users=options.evaluated)
    sizes = {"model": model, "train": train, "text": text, "evaluation": evaluation}
    return dataclasses.replace(config, seed=options.seed, **sizes)


def _summary(timeline: dict) -> dict:
    seconds = {row["stage"]: row["seconds"] for row in timeline["stages"]}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss / 1e6, 2),
    }


if __name__ == "__main__":
    main()
