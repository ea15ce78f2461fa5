"""Train a recommender: raw tables in, a run directory with checkpoints, figures and a report out.

    python train.py                                   the embedded sample shop, into runs/sample
    python train.py --data DIR --run RUN              your own tables
    python train.py --run RUN                         goes on exactly where RUN stands

Resume policy:
    1. RUN without config.json is new: the options make its configuration, resolved against the data.
    2. RUN with config.json keeps it: options that say otherwise are an error, not an override.
    3. A prepared World of the same sources is reused; other sources than RUN's are an error.
    4. A stage restores its newest whole checkpoint; damaged ones are named and passed over.
    5. A finished stage is not trained again; evaluation and report are always written anew.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from socialrec_jax.config import PRESETS, Config
from socialrec_jax.runtime import cli


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Train a recommender for a social shop."""

    source: Annotated[Path | None, tyro.conf.arg(name="data", metavar="DIR")] = None
    """Folder of raw tables; without it the embedded sample shop."""
    run: Annotated[Path, tyro.conf.arg(metavar="RUN")] = Path("runs/sample")
    """Run directory; an existing one is resumed."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A config.json to start from instead of a preset."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the arguments say, by default those of the command line; exit by the contract."""
    cli.main(train, arguments)


def train(arguments: list[str]) -> None:
    # ---- config: preset or file, then the command line over it
    options, config = read_options(arguments)
    cli.prepare_jax(options.run)
    from socialrec_jax.pipeline.console import finish
    from socialrec_jax.pipeline.evaluate import evaluate
    from socialrec_jax.pipeline.focus import focus_retriever
    from socialrec_jax.pipeline.ranker import train_ranker
    from socialrec_jax.pipeline.refit import RetrieverProgress, refit
    from socialrec_jax.pipeline.retriever import engine_of, train_retriever
    from socialrec_jax.pipeline.run import prepared
    from socialrec_jax.pipeline.text import item_features
    from socialrec_jax.runtime import processes
    from socialrec_jax.runtime.run import RunDirectory

    # ---- processes: one, or those that the launcher started; process 0 writes for all
    processes.initialize()
    run = RunDirectory(options.run)
    with processes.held_by_main(run.lock()):
        # ---- data: raw tables -> World
        world, config = prepared(run, options.source, config)

        # ---- train: each stage from wherever it stands
        texts = item_features(run, world, config)
        retriever, progress = train_retriever(run, world, config, texts)
        retriever, focus_standing = focus_retriever(run, world, config, texts, retriever)
        engine = engine_of(world, config, texts, retriever)
        ranker = train_ranker(run, engine)

        # ---- evaluate: everything once on the test part
        report = evaluate(run, engine, progress, ranker)

        # ---- refit: what serves from now on has learnt from all events
        if config.train.refit:
            refit(
                run,
                world,
                config,
                texts,
                RetrieverProgress(progress, focus_standing),
                ranker,
            )
        finish(run, report)


def read_options(arguments: list[str]) -> tuple[Options, Config]:
    """All options, and the configuration in them."""
    start = _starting_point(arguments)
    default = Options(
        **{field.name: getattr(start, field.name) for field in dataclasses.fields(Config)}
    )
    options = cli.parse(
        Options, args=arguments, default=default, prog="train.py", description=__doc__
    )
    return options, Config(
        **{field.name: getattr(options, field.name) for field in dataclasses.fields(Config)}
    )


def _starting_point(arguments: list[str]) -> Config:
    """What the other options change: RUN's own configuration, a file, or a preset. Read before the
    full parse.
    """
    values = dict(itertools.pairwise(arguments)) | dict(
        a.split("=", 1) for a in arguments if "=" in a
    )
    kept = Path(values.get("--run", Options.run), "config.json")
    file = kept if kept.exists() else values.get("--config")
    if file:
        from socialrec_jax.runtime.run import read_config

        return read_config(Path(file))
    usual = "base" if "--data" in values else "tiny"
    return PRESETS.get(values.get("--preset", usual), PRESETS[usual])()


if __name__ == "__main__":
    main()
