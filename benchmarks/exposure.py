"""Learning from one's own lists: with and without correcting for the place of an item.

    python -m benchmarks.exposure --out runs/exposure --seeds 0 1 2

A small synthetic shop is trained, users are shown lists and take what they want of them
(`work/exposure.py`), and rankers learn from what came back. Writes exposure.json into OUT after
each seed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from socialrec_jax.config import Config
from socialrec_jax.runtime import cli


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Shops whose users are shown lists."""

    out: Annotated[Path, arg(metavar="DIR")]
    """Folder of the runs and the figures."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of shop, trainings and users."""
    users: int = 1200
    """Of a shop."""
    lists: int = 10
    """Lists that each user is shown."""
    explore: float = 0.1
    """Share of lists in random order."""
    placement: Literal["basket", "buy-again", "trending", "new", "friends"] | None = None
    """What makes the lists, as in serve.py recommend; by default the model."""
    epochs: int = 20
    """Passes of the training."""
    debug: bool = False
    """Show the traceback of an error."""


def main(arguments: list[str] | None = None) -> None:
    """Show, learn and compare, seed by seed."""
    cli.main(execute, arguments)


def execute(arguments: list[str]) -> None:
    """Print and write the figures of each seed."""
    options = cli.parse(
        Options, args=arguments, prog="python -m benchmarks.exposure", description=__doc__
    )
    cli.prepare_jax(options.out)
    from socialrec_jax.files import write_atomically

    results = {}
    for seed in options.seeds:
        results[seed] = _compare_seed(options, seed)
        print(f"seed {seed}  {json.dumps(results[seed])}", flush=True)
        write_atomically(options.out / "exposure.json", json.dumps(results, indent=1) + "\n")


def _compare_seed(options: Options, seed: int) -> dict:
    import numpy as np

    from benchmarks.work.exposure import Shop, compare, write_feedback
    from socialrec_jax.data.world import World
    from socialrec_jax.runtime.run import RunDirectory

    folder = options.out / str(seed)
    run = RunDirectory(folder / "run")
    later = _trained(run, folder, options, seed)
    config = run.config()
    shop = Shop.of(World.open(run.world), later, np.random.default_rng(seed))
    feedback = folder / f"feedback-{options.placement or 'model'}"
    shown = write_feedback(
        run.path,
        shop,
        feedback,
        num_lists=options.lists,
        explore=options.explore,
        placement=options.placement,
    )
    with run.lock():
        return compare(run, feedback, shop, config) | shown


def _trained(run, folder: Path, options: Options, seed: int) -> Path:
    """Train a run on the first part of a shop; returns the events after it."""
    from benchmarks.work.periods import write_periods
    from socialrec_jax.data.synthetic import write_tables
    from socialrec_jax.pipeline.run import train

    shop = folder / "shop"
    if not (shop / "users.parquet").exists():
        write_tables(shop, num_users=options.users, num_items=400, events_per_user=20, seed=seed)
    first, later = write_periods(shop, folder / "tables", 1, 0.7)
    if not run.report.exists():
        with run.lock():
            train(run, first, _config(options, seed))
    return later / "events.parquet"


def _config(options: Options, seed: int) -> Config:
    from socialrec_jax.config import PRESETS

    config = PRESETS["tiny"]()
    text = dataclasses.replace(config.text, epochs=2)
    train = dataclasses.replace(config.train, epochs=options.epochs, evaluations=4)
    return dataclasses.replace(config, seed=seed, text=text, train=train)


if __name__ == "__main__":
    main()
