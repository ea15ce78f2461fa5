"""The command `run` of the suites `quality` and `peers`, which train whole systems, and of
`scale-host`.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.output.studies import growth_table, peers_table, quality_table
from benchmarks.suites import peers as peers_suite
from benchmarks.suites import quality as quality_suite
from benchmarks.suites import scale_host as scale_host_suite
from benchmarks.work import host_pieces
from socialrec_jax.config import PRESETS, Config
from socialrec_jax.data.world import World
from socialrec_jax.errors import UsageError
from socialrec_jax.files import write_atomically
from socialrec_jax.pipeline.run import open_world, sample_tables
from socialrec_jax.runtime.environment import environment
from socialrec_jax.runtime.run import RunDirectory

if TYPE_CHECKING:
    from benchmarks.__main__ import Run

_ARMS = (*quality_suite.ARMS, quality_suite.STRICT)
_FEWEST_ITEMS = 1000  # of a shop whose growth says something


def quality(options: Run) -> int:
    """Train every arm over every seed; returns the exit code."""
    arms = list(options.arms or _ARMS)
    if unknown := set(arms) - set(_ARMS):
        raise UsageError(f"unknown arms {sorted(unknown)}: the arms are {', '.join(_ARMS)}")
    world, config, folder = _open_shop(options)
    results = quality_suite.run(world, config, arms, list(options.seeds), folder)
    print(quality_table(results).markdown())
    record = {"split": config.split, "seeds": list(options.seeds), "results": results}
    _write("quality", record | _data_of(world), folder)
    return 0


def peers(options: Run) -> int:
    """Run every system on every task; returns the exit code."""
    world, _, folder = _open_shop(options)
    setting = peers_suite.Setting(
        python=options.peers_python,
        folder=folder,
        shop=folder / "shop",
        epochs=options.epochs,
        device=options.device,
    )
    rows = peers_suite.run(world, setting, list(options.tasks))
    print(peers_table(rows).markdown())
    _write("peers", {"results": rows} | _data_of(world), folder)
    return 0


def scale_host(options: Run) -> int:
    """Measure how the host's work grows with the shop; returns the exit code."""
    if len(options.items) < 2 or min(options.items) < _FEWEST_ITEMS:
        raise UsageError(f"--items needs two sizes or more, of {_FEWEST_ITEMS:,} items at least")
    if not any(options.only in name for name in host_pieces.NAMES):
        raise UsageError(f"--only {options.only}: no piece has this in its name")
    folder = options.out or Path(tempfile.mkdtemp(prefix="scale-host-"))
    growths = scale_host_suite.run(options.items, folder, options.only)
    print(growth_table(growths).markdown())
    _write("scale-host", {"results": [dataclasses.asdict(growth) for growth in growths]}, folder)
    return 0


COMMANDS: dict[str, Callable[[Run], int]] = {
    "quality": quality,
    "peers": peers,
    "scale-host": scale_host,
}


def _open_shop(options: Run) -> tuple[World, Config, Path]:
    """World, configuration, and the folder of the runs."""
    preset = options.preset or ("base" if options.data else "tiny")
    config = dataclasses.replace(PRESETS[preset](), split=options.split)
    folder = options.out or Path(tempfile.mkdtemp(prefix=f"{options.suite}-"))
    shop = RunDirectory(folder / "shop")
    # The shop is prepared once, and every arm or system reads it.
    with shop.lock():
        world = open_world(shop, options.data or sample_tables(shop, 0), config)
        shop.write_config(config)
    return world, config, folder


def _data_of(world: World) -> dict[str, Any]:
    return {"data": world.manifest["counts"]}


def _write(benchmark: str, record: dict[str, Any], folder: Path) -> None:
    """Print the record as one line, and keep it beside the runs that it is about."""
    head = {"benchmark": benchmark}
    line = json.dumps(head | record | {"environment": environment()})
    write_atomically(folder / f"{benchmark}.json", line + "\n")
    print(line)
