"""The stages of a run in their order; the only library file that sees every room.

train.py tells the same story to a reader, and a notebook can call these functions alike.
"""

from __future__ import annotations

from pathlib import Path

from socialrec_jax.config import Config, from_json, to_json
from socialrec_jax.data.prepare.prepare import prepare
from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.data.world import World
from socialrec_jax.errors import InputMissing
from socialrec_jax.pipeline.console import describe
from socialrec_jax.pipeline.settings import settle_config, write_auto_config
from socialrec_jax.runtime import processes
from socialrec_jax.runtime.run import RunDirectory


def prepared(run: RunDirectory, source: Path | None, config: Config) -> tuple[World, Config]:
    """The run's World, and its configuration resolved against it. Process 0 makes both; see the
    functions below.

    source None: what the run stands on, or the embedded sample shop for a new run.
    """

    def prepare_run() -> str:
        settled = settle_config(run, config)
        tables = sample_tables(run, settled.seed) if source is None and not run.exists else source
        world = open_world(run, tables, settled)
        resolved = write_auto_config(run, settled, world)
        describe(world, resolved)
        return to_json(resolved)

    resolved = from_json(processes.broadcast_from_main(prepare_run))
    return World.open(run.world), resolved


def sample_tables(run: RunDirectory, seed: int) -> Path:
    """The embedded synthetic shop, written once into the run directory."""
    folder = run.path / "sample"
    if not (folder / "users.parquet").exists():
        write_tables(folder, seed=seed)
    return folder


def open_world(run: RunDirectory, source: Path | None, config: Config) -> World:
    """Prepare source into the run, or open what stands there when source is None.

    Raises BadData when the run stands on other data, InputMissing when there is nothing to open.
    """
    if source is None:
        if not (run.world / "manifest.json").exists():
            raise InputMissing(f"{run.path} holds no prepared data: say which with --data DIR")
        return World.open(run.world)
    return prepare(source, run.world, config.data, config.split, replace=not run.exists)
