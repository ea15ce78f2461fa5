"""Kill commands at many moments, feed them broken files, and write what came of it as a table.

python -m tests.torture [--kills 200] [--files 2000] [--seconds 100000] [--seed 0] [--command add]

OUT/torture.jsonl gets one row for each kind and start of this program. OUT/torture.md is the table
of all rows, for docs/reliability.md: several starts with other seeds add up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# First, as it sets JAX's variables: programs of one process serve all others.
import jax

from tests.torture import outcomes
from tests.torture.kills import torture
from tests.torture.mutations import mutate
from tests.torture.outcomes import Outcome
from tests.torture.peers import PEERS, stop_one_of_two
from tests.torture.shards import JOBS, kill_serving
from tests.torture.starts import STARTS, stop_starts
from tests.torture.targets import targets

# Shares of all kills; a training has the most stages.
_SHARES = {
    "train.py": 0.35,
    "train.py --add": 0.15,
    "train.py --forget": 0.1,
    "serve.py recommend": 0.15,
    JOBS: 0.1,
    STARTS: 0.1,
    PEERS: 0.05,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1e5, help="no new run after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", default="", help="a kind, or a part of some kinds' names")
    parser.add_argument("--work", type=Path, help="folder for runs; its trained run is used again")
    parser.add_argument("--out", type=Path, default=Path("runs/torture"), help="for the tables")
    options = parser.parse_args()
    # Programs run for a moment: optimising them would take most of the time, as in the tests.
    jax.config.update("jax_disable_most_optimizations", True)
    has_problems = False
    for outcome in _outcomes(options):
        print(outcome, flush=True)
        outcomes.write(options.out, outcome, options.seed)
        has_problems |= bool(outcome.problems)
    raise SystemExit(has_problems)


def _outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    """Of the files, and of each kind of kills with `command` in its name."""
    folder = options.work or Path(tempfile.mkdtemp(prefix="torture-"))
    if options.files:
        yield mutate(folder / "files", options.files, options.seed)
    exact = [options.command] if options.command in _SHARES else None
    names = exact or [name for name in _SHARES if options.command in name]
    chosen = {name: _SHARES[name] for name in names}
    if not options.kills or not chosen:
        return
    commands = {target.name: target for target in targets(folder)}
    until = time.time() + options.seconds
    trained = commands["serve.py recommend"].start
    for number, (name, share) in enumerate(chosen.items()):
        kills = round(options.kills * share / sum(chosen.values()))
        # What is left of the time is for the kinds that are left.
        end = time.time() + (until - time.time()) / (len(chosen) - number)
        if name in commands:
            yield torture(commands[name], folder, kills, options.seed, end)
        elif name == JOBS:
            yield kill_serving(trained, folder, kills, options.seed, end)
        elif name == STARTS:
            yield stop_starts(trained, kills, options.seed, end)
        else:
            yield stop_one_of_two(folder, kills, options.seed, end)


if __name__ == "__main__":
    main()
