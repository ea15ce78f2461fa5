"""`python -m benchmarks run --suite NAME`: one suite, its table for people, its last line one JSON object."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

from socialrec_jax import pipeline
from socialrec_jax.config import PRESETS
from socialrec_jax.environment import environment
from socialrec_jax.run import RunDirectory

SUITES = ("quality",)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    run = parser.add_subparsers(required=True).add_parser("run", help="run a suite")
    run.add_argument("--suite", choices=SUITES, required=True)
    run.add_argument("--data", type=Path, help="raw tables; without them the embedded sample shop")
    run.add_argument("--split", choices=("leave-one-out", "time"), default="leave-one-out")
    run.add_argument("--preset", choices=sorted(PRESETS), help="tiny for the sample shop, base for tables")
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    run.add_argument("--arms", nargs="+", default=None, help="parts of the quality suite; all of them by default")
    run.add_argument("--out", type=Path, help="folder that keeps the runs; a finished run is not trained again")
    quality(parser.parse_args())


def quality(options: argparse.Namespace) -> None:
    from benchmarks import quality as suite

    arms = options.arms or [*suite.ARMS, suite.STRICT]
    preset = options.preset or ("base" if options.data else "tiny")
    config = dataclasses.replace(PRESETS[preset](), split=options.split)
    folder = options.out or Path(tempfile.mkdtemp(prefix="quality-"))
    shop = RunDirectory(folder / "shop")
    with shop.lock():
        source = options.data or pipeline.sample_tables(shop, 0)
        world = pipeline.open_world(shop, source, config)
        shop.write_config(config)
    results = suite.run_suite(world, config, arms, options.seeds, folder)
    print(suite.table(results))
    record = {"benchmark": "quality", "data": world.manifest["counts"], "split": config.split, "seeds": options.seeds}
    print(json.dumps(record | {"results": results, "environment": environment()}))


if __name__ == "__main__":
    main()
