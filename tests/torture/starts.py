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
_IMPORT_SECONDS = 4.0
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
        _stop(rng.choice(commands), rng.uniform(0, _IMPORT_SECONDS), rng, outcome)
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
    _wait_for_handler(process)
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


def _wait_for_handler(process: subprocess.Popen) -> None:
    """Until a program has come to its first line: before it, Python itself takes signals."""
    while process.poll() is None and not _handles_sigterm(process.pid):
        time.sleep(0.002)


def _handles_sigterm(number: int) -> bool:
    """Whether a process has a handler of its own, as Linux says: a bit for each signal."""
    status = Path(f"/proc/{number}/status").read_text()
    bits = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(bits, 16) >> (signal.SIGTERM - 1) & 1)
