"""`python -m benchmarks run|compare|report`: how fast, how good, and is it another speed than
before?

    python -m benchmarks run --suite train --tiny --out results
    python -m benchmarks compare old/train.jsonl new/train.jsonl
    python -m benchmarks report results/*.jsonl --out report.html

The last line printed is one JSON object. Exit codes: those of the programs (docs/contracts.md);
`run` ends with 70 when a case was wrong, failed or beat the hardware, `compare` with 70 when a
count that CI gates on grew.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.suites import SUITES, cases_of
from socialrec_jax.config import PRESETS
from socialrec_jax.errors import INTERNAL, INTERRUPTED, UsageError, UserError
from socialrec_jax.runtime.memory import keep_freed_memory

CONTESTS = ("sequences", "text", "graph")  # of `benchmarks.suites.peers`, which is slow to import


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    _run_options(commands.add_parser("run", help="run a suite"))
    two = commands.add_parser("compare", help="is B another speed than A?")
    two.add_argument("a", type=Path, metavar="A", help="result file of before")
    two.add_argument("b", type=Path, metavar="B", help="result file of now")
    two.add_argument(
        "--gate", action="store_true", help="exit 70 when a count (never a time) of B is worse"
    )
    two.set_defaults(action=compare)
    page = commands.add_parser("report", help="one HTML page about any number of result files")
    page.add_argument("files", type=Path, nargs="+", metavar="FILE")
    page.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    page.add_argument(
        "--price-per-hour",
        type=float,
        help="of all devices together: adds the cost of a million units",
    )
    page.set_defaults(action=report)
    options = parser.parse_args()
    try:
        sys.exit(options.action(options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        print("interrupted; the rows that were measured are in the result file", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--suite", choices=(*SUITES, "quality", "peers"), required=True)
    run.add_argument(
        "--out", type=Path, help="folder of the result file, and of the runs of quality and peers"
    )
    run.add_argument(
        "--only", metavar="TEXT", default="", help="cases with this in their name or preset"
    )
    run.add_argument("--tiny", action="store_true", help="the presets' twins for CPUs")
    run.add_argument(
        "--seconds", type=float, default=4.0, help="time for each case, after its least rounds"
    )
    run.add_argument(
        "--price-per-hour",
        type=float,
        help="of all devices together: adds the cost of a million units",
    )
    quality = run.add_argument_group("quality and peers")
    quality.add_argument(
        "--data", type=Path, help="raw tables; without them the embedded sample shop"
    )
    quality.add_argument("--split", choices=("leave-one-out", "time"), default="leave-one-out")
    quality.add_argument(
        "--preset", choices=sorted(PRESETS), help="tiny for the sample shop, base for tables"
    )
    quality.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    quality.add_argument(
        "--arms", nargs="+", default=None, help="parts of the quality suite; all of them by default"
    )
    peers = run.add_argument_group("peers")
    peers.add_argument(
        "--peers-python",
        type=Path,
        default=Path(".venv-peers/bin/python"),
        help="where they are installed",
    )
    peers.add_argument("--contests", nargs="+", choices=CONTESTS, default=list(CONTESTS))
    peers.add_argument("--epochs", type=int, default=30, help="of RecTools and RecBole at most")
    run.set_defaults(action=run_suite)


def run_suite(options: argparse.Namespace) -> int:
    if options.suite in ("quality", "peers"):
        return {"quality": quality, "peers": peers}[options.suite](options)
    if options.suite == "serve":
        keep_freed_memory()  # as serve.py does
    from benchmarks.harness import runner
    from benchmarks.harness.hardware import stay_within_memory
    from benchmarks.harness.schema import NOT_RUN, OK, OUT_OF_MEMORY
    from benchmarks.output import speedups as gains
    from benchmarks.output import tables as listing

    stay_within_memory()
    out = options.out or Path(tempfile.mkdtemp(prefix="benchmarks-"))
    effort = runner.Effort(seconds_per_case=options.seconds)
    cases = [
        case
        for case in cases_of(options.suite, options.tiny)
        if options.only in f"{case.name} {case.preset}"
    ]
    if not cases:
        raise UsageError(f"--only {options.only} leaves no case of the suite {options.suite}")
    results = runner.run_suite(options.suite, cases, effort, out)
    print(listing.table(results, options.price_per_hour))
    if options.suite == "ladder":
        print(gains.table(results.rows))
    shown = (
        "case",
        "preset",
        "status",
        "unit",
        "p50",
        "spread",
        "units_per_second",
        "mfu",
        "bound_by",
    )
    rows = [{name: getattr(row, name) for name in shown} for row in results.rows]
    file = str(out / f"{options.suite}.jsonl")
    print(
        json.dumps(
            {
                "benchmark": options.suite,
                "file": file,
                "commit": results.run.commit,
                "results": rows,
            }
        )
    )
    return (
        0 if all(row.status in (OK, OUT_OF_MEMORY, NOT_RUN) for row in results.rows) else INTERNAL
    )


def compare(options: argparse.Namespace) -> int:
    from benchmarks.harness import schema
    from benchmarks.output import compare as comparing

    old, new = schema.read(options.a), schema.read(options.b)
    if old.run.config_hash != new.run.config_hash:
        print(
            "the two runs were not asked the same: other cases or another effort", file=sys.stderr
        )
    verdicts = comparing.compare(old, new)
    print(comparing.table(verdicts))
    worse = [verdict for verdict in verdicts if verdict.counts]
    print(
        json.dumps(
            {
                "benchmark": "compare",
                "results": [dataclasses.asdict(verdict) for verdict in verdicts],
            }
        )
    )
    return INTERNAL if options.gate and worse else 0


def report(options: argparse.Namespace) -> int:
    from benchmarks.harness import schema
    from benchmarks.output import report as reporting

    reporting.write(
        options.out, {file: schema.read(file) for file in options.files}, options.price_per_hour
    )
    print(json.dumps({"benchmark": "report", "file": str(options.out)}))
    return 0


def quality(options: argparse.Namespace) -> int:
    from benchmarks.suites import quality as suite

    arms = options.arms or [*suite.ARMS, suite.STRICT]
    world, config, folder = _shop(options)
    results = suite.run_suite(world, config, arms, options.seeds, folder)
    print(suite.table(results))
    record = {
        "benchmark": "quality",
        "data": world.manifest["counts"],
        "split": config.split,
        "seeds": options.seeds,
    }
    _write(record | {"results": results}, folder)
    return 0


def peers(options: argparse.Namespace) -> int:
    from benchmarks.suites import peers as race

    world, _, folder = _shop(options)
    rows = race.run(
        world, folder / "shop", options.peers_python, folder, options.contests, options.epochs
    )
    rows = race.with_seconds_to_goal(rows)
    print(race.table(rows))
    _write({"benchmark": "peers", "data": world.manifest["counts"], "results": rows}, folder)
    return 0


def _write(record: dict, folder: Path) -> None:
    """Print the record as one line, and keep it beside the runs that it is about."""
    from socialrec_jax.runtime.environment import environment
    from socialrec_jax.runtime.run import write_atomically

    line = json.dumps(record | {"environment": environment()})
    write_atomically(folder / f"{record['benchmark']}.json", line + "\n")
    print(line)


def _shop(options: argparse.Namespace):
    """(World, Config, folder of the runs) of what --data, --split and --preset say."""
    from socialrec_jax.pipeline.run import open_world, sample_tables
    from socialrec_jax.runtime.run import RunDirectory

    preset = options.preset or ("base" if options.data else "tiny")
    config = dataclasses.replace(PRESETS[preset](), split=options.split)
    folder = options.out or Path(tempfile.mkdtemp(prefix=f"{options.suite}-"))
    shop = RunDirectory(folder / "shop")
    with shop.lock():
        world = open_world(shop, options.data or sample_tables(shop, 0), config)
        shop.write_config(config)
    return world, config, folder


if __name__ == "__main__":
    main()
