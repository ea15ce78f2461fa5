"""Programs that get a signal while a new interpreter imports end with one line and its code."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.torture.kills import CODES
from tests.torture.outcomes import Outcome
from tests.workers import ROOT

STARTS = "imports of train.py and serve.py"
_PYTHON_SECONDS = 0.15  # until the interpreter runs a program's first line
_HANGS_SECONDS = 120


def stop_starts(trained: Path, tries: int, seed: int, until: float) -> Outcome:
    """Send signals to new interpreters before they have done anything.

    trained: a run. until: no new try starts after this time.
    """
    outcome, rng = Outcome(STARTS), random.Random(seed)
    answers = trained.parent / "answers.parquet"
    commands = (
        ["train.py", "--run", trained],
        ["serve.py", "recommend", "--run", trained, "--out", answers],
    )
    while outcome.tries < tries and time.time() < until:
        _stop(rng.choice(commands), rng.uniform(_PYTHON_SECONDS, 4), rng, outcome)
    return outcome


def _stop(command: list, seconds: float, rng: random.Random, outcome: Outcome) -> None:
    number = rng.choice((signal.SIGTERM, signal.SIGINT))
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(number)
    try:
        errors = process.communicate(timeout=_HANGS_SECONDS)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        errors = process.communicate()[1]
    outcome.tries += 1
    outcome.endings[number.name] += 1
    if process.returncode not in CODES[number] or errors.count("\n") > 1:
        said = f"{command[0]} {number.name} after {seconds:.2f} s ended with {process.returncode}"
        outcome.problems.append(f"{said}: {errors[-500:]}")
