"""Kill commands at many moments, feed them broken files, and print what was found as a table.

python -m tests.torture [--kills 200] [--files 2000] [--seconds 100000] [--seed 0] [--command add]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import jax

from tests.torture.kills import Outcome, targets, torture
from tests.torture.mutations import peak_memory, try_mutations
from tests.torture.shards import JOBS, kill_serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1e5, help="no new run after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", default="", help="only commands with this in their name")
    options = parser.parse_args()
    until = time.time() + options.seconds
    # Programs run for a moment: optimising them would take most of the time, as in the tests.
    jax.config.update("jax_disable_most_optimizations", True)
    outcomes = kill_all(options.kills, options.seed, until, options.command)
    for outcome in outcomes:
        print(as_row(outcome), flush=True)
        for problem in outcome.problems:
            print("   ", problem, flush=True)
    problems = try_files(options.files, options.seed)
    raise SystemExit(bool(problems) or any(outcome.problems for outcome in outcomes))


def try_files(number: int, seed: int) -> list[str]:
    """Prepare so many mutated files; prints how they ended."""
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        before = peak_memory()
        endings, problems = try_mutations(Path(name), number, seed)
        grown = (peak_memory() - before) / 1e6
    print(f"{number} files: {dict(endings)}, peak memory grew by {grown:.0f} MB", flush=True)
    for problem in problems:
        print("   ", problem, flush=True)
    return problems


def kill_all(kills: int, seed: int, until: float, only: str) -> list[Outcome]:
    """An equal number of kills for each command with `only` in its name, and for jobs of several
    processes.
    """
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        all_commands = targets(folder)
        commands = [command for command in all_commands if only in command.name]
        kinds = len(commands) + (only in JOBS)
        share = -(-kills // kinds)
        outcomes = []
        for number, command in enumerate(commands):
            # What is left of the time is for the commands that are left.
            end = time.time() + (until - time.time()) / (kinds - number)
            outcomes.append(torture(command, folder, share, seed, end))
        if only in JOBS:
            outcomes.append(kill_serving(all_commands[-1].start, folder, share, seed, until))
        return outcomes


def as_row(outcome: Outcome) -> str:
    signals = ", ".join(f"{n} {name}" for name, n in sorted(outcome.by_signal.items()))
    cells = (outcome.command, outcome.kills, signals, outcome.runs, len(outcome.problems))
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    main()
