"""How fast, how good, and is it another speed than before?

    python -m benchmarks run --suite train --tiny --out results
    python -m benchmarks compare old/train.jsonl new/train.jsonl
    python -m benchmarks report results/*.jsonl --out report.html
    python -m benchmarks --version

The last line printed is one JSON object. Exit codes are those of the programs (docs/contracts.md):
`run` ends with 70 when a case was wrong, failed or was faster than the hardware allows, `compare
--gate` with 70 when a count is worse.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import (
    FlagCreatePairsOff,
    OmitArgPrefixes,
    OmitSubcommandPrefixes,
    Positional,
    UseAppendAction,
    arg,
    subcommand,
)

from benchmarks.suites import STUDIES, Study, TimedSuite
from socialrec_jax.runtime import cli
from socialrec_jax.runtime.memory import use_huge_pages

_SERVE = {"serve", "--suite=serve"}  # on the command line
PeerTask = Literal["sequences", "text", "graph", "search"]

# JAX is imported by the commands, so that `--help` need not wait for it.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Run a suite."""

    suite: TimedSuite | Study
    """Which question to answer: docs/benchmarks.md lists them."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the result file, and of the runs of quality and peers."""
    only: Annotated[str, arg(metavar="TEXT")] = ""
    """Cases with this in their name or preset."""
    tiny: bool = False
    """The presets' twins for CPUs."""
    seconds: float = 4.0
    """Time for each case, after its least rounds."""
    budget: float = 300.0
    """Seconds for the whole suite, but for quality and peers: cases that they do not reach are
    listed as such."""
    price_per_hour: float | None = None
    """Of all devices together: adds the cost of a million units."""
    data: Annotated[Path | None, arg(metavar="DIR")] = None
    """quality, peers, accelerator: raw tables; without them a made-up shop."""
    split: Literal["leave-one-out", "time"] = "leave-one-out"
    """quality, peers: how the held-out events are chosen."""
    preset: Literal["tiny", "base", "large"] | None = None
    """quality, peers: tiny for the sample shop by default, base for tables."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """quality: the seeds of each arm."""
    arms: tuple[str, ...] = ()
    """quality: parts of the suite; all of them by default."""
    peers_python: Annotated[Path, arg(metavar="FILE")] = Path(".venv-peers/bin/python")
    """peers: the Python of the environment in which they are installed."""
    tasks: tuple[PeerTask, ...] = ("sequences", "text", "graph", "search")
    """peers: what is compared."""
    epochs: int = 30
    """peers: of RecTools and RecBole at most."""
    device: Literal["cpu", "cuda"] = "cpu"
    """peers: where all systems run."""
    items: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """scale-host: sizes of the shops."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare:
    """Is B another speed than A?"""

    a: Annotated[Positional[Path], arg(metavar="A")]
    """Result file of before."""
    b: Annotated[Positional[Path], arg(metavar="B")]
    """Result file of now."""
    gate: bool = False
    """Exit with 70 when a count (never a time) of B is worse."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Write one HTML page about any number of result files."""

    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE...")]
    """Result files."""
    out: Annotated[Path, arg(metavar="FILE.html")]
    """The page."""
    reference_device: str | None = None
    """The device that others are compared with, or a part of its name; the first file's by
    default."""
    price: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=PRICE")] = ()
    """Price of an hour of a device, by its name or a part of it, for the cost of a billion units;
    may be given several times."""
    debug: bool = False
    """Show the traceback of an error."""


Command = (
    Annotated[Run, subcommand("run")]
    | Annotated[Compare, subcommand("compare")]
    | Annotated[Report, subcommand("report")]
)


def main(arguments: list[str] | None = None) -> None:
    """What `socialrec-bench` and `python -m benchmarks` call."""
    # As train.py does. The suite `serve` keeps freed memory instead, as serve.py does.
    if arguments is None and _SERVE.isdisjoint(sys.argv):
        use_huge_pages()
    cli.main(execute, arguments)


def execute(arguments: list[str]) -> None:
    """Run one command, and exit with its code."""
    command = cli.parse(
        FlagCreatePairsOff[OmitArgPrefixes[OmitSubcommandPrefixes[Command]]],
        args=arguments,
        prog="python -m benchmarks",
        description=__doc__,
    )
    sys.exit(_run(command))


def _run(command: Run | Compare | Report) -> int:
    from benchmarks import commands

    if isinstance(command, Compare):
        return commands.compare(command.a, command.b, command.gate)
    if isinstance(command, Report):
        return commands.report(command)
    if command.suite in STUDIES:
        from benchmarks import studies

        return studies.COMMANDS[command.suite](command)
    return commands.run_suite(command)


if __name__ == "__main__":
    main()
