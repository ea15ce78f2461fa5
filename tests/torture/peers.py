"""One of two processes that train together dies: the other ends with one line and a code."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

from socialrec_jax.errors import INTERNAL, TERMINATED
from tests import workers
from tests.torture.kills import digest, leftovers
from tests.torture.outcomes import Outcome
from tests.torture.targets import TINY

PEERS = "train.py in 2 processes, of which one dies"
# Training, where both compute, and evaluation, where one waits for the other.
_PLACES = ("stage prepare", "stage retriever", "stage evaluation", "stage refit")
_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
# What the other one may end with: process 0 says why it stops, and its signals count for all.
_CODES = (INTERNAL, TERMINATED)
_LINES = ("error:", "terminated", "stopped")
_MOST_SECONDS = 150.0  # a missing heartbeat is noticed after 100


def stop_one_of_two(folder: Path, tries: int, seed: int, until: float) -> Outcome:
    """Stop process 0 or 1 of a training at a stage, then start both again; compare what is there.

    folder: with tables in `shop`. until: no new try starts after this time.
    """
    outcome, rng = Outcome(PEERS), random.Random(seed)
    whole = folder / "of-two"
    workers.launch(*_command(folder, whole), processes=2)
    expected = digest(whole)
    while outcome.tries < tries and time.time() < until:
        run = folder / "stopped"
        shutil.rmtree(run, ignore_errors=True)
        place = _PLACES[outcome.tries % len(_PLACES)]
        _stop_one(_command(folder, run), place, rng, outcome)
        workers.launch(*_command(folder, run), processes=2)
        outcome.compared += 1
        if digest(run) != expected:
            outcome.problems.append(f"other bytes after a death at {place}")
        if left := leftovers(run):
            outcome.problems.append(f"left over: {left[:3]}")
    return outcome


def _command(folder: Path, run: Path) -> list[object]:
    train = ("-m", "tests.torture.staged", "train.py", "--run", run)
    return [*train, "--data", folder / "shop", *TINY]


def _stop_one(command: list[object], place: str, rng: random.Random, outcome: Outcome) -> None:
    """Stop one process at a place, and see how the other one ends."""
    started = workers.start_together(*command, processes=2)
    stopped, number = rng.randrange(2), rng.choice(_SIGNALS)
    for line in started[stopped].output:
        if line.startswith(place):
            break
    time.sleep(rng.uniform(0, 0.5))
    started[stopped].send_signal(number)
    began = time.perf_counter()
    other = started[1 - stopped].wait(timeout=_MOST_SECONDS)
    seconds = time.perf_counter() - began
    started[stopped].wait(timeout=_MOST_SECONDS)
    outcome.tries += 1
    outcome.seconds = max(outcome.seconds, seconds)
    outcome.places[place.removeprefix("stage ")] += 1
    outcome.endings[f"{number.name} of process {stopped}"] += 1
    # JAX says what it knows before the last line.
    last_line = (other.errors.splitlines() or [""])[-1]
    if other.code not in _CODES or not last_line.startswith(_LINES):
        said = f"{number.name} of process {stopped} at {place}: the other ended with {other.code}"
        outcome.problems.append(f"{said} after {seconds:.1f} s: {other.errors[-1500:]}")
