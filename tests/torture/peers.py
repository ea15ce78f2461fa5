"""One of two processes that train together dies: the other ends with one line and a code."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

from socialrec_jax.errors import INTERNAL, TERMINATED
from tests import workers
from tests.torture.kills import START, digest, leftovers
from tests.torture.outcomes import Outcome
from tests.torture.targets import TINY
from tests.workers import Ended, Process

PEERS = "train.py in 2 processes, of which one dies"
_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
# What the other one may end with: process 0 says why it stops, and its signals count for all.
_CODES = (INTERNAL, TERMINATED)
_LINES = ("error:", "terminated", "stopped")
_MOST_SECONDS = 150.0  # a missing heartbeat is noticed long before, see staged.py


def stop_one_of_two(folder: Path, tries: int, seed: int, until: float) -> Outcome:
    """Stop process 0 or 1 of a training at a random moment, then start both again; compare what is
    there.

    folder: with tables in `shop`. until: no new try starts after this time.
    """
    outcome, rng = Outcome(PEERS), random.Random(seed)
    whole, run = folder / "of-two", folder / "stopped"
    _train(folder, whole)  # compiles, which takes far longer than the rest
    seconds = _train(folder, whole)
    expected = digest(whole)
    while outcome.tries < tries and time.time() < until:
        shutil.rmtree(run, ignore_errors=True)
        place = _stop_one(_command(folder, run), rng.uniform(0, seconds), rng, outcome)
        _go_on(_command(folder, run), run, expected, place, outcome)
    return outcome


def _command(folder: Path, run: Path) -> list[object]:
    train = ("-m", "tests.torture.staged", "train.py", "--run", run)
    return [*train, "--data", folder / "shop", *TINY]


def _train(folder: Path, run: Path) -> float:
    """The seconds of a training from its beginning that is left alone."""
    shutil.rmtree(run, ignore_errors=True)
    began = time.perf_counter()
    workers.launch(*_command(folder, run), processes=2)
    return time.perf_counter() - began


def _stop_one(
    command: list[object], seconds: float, rng: random.Random, outcome: Outcome
) -> str | None:
    """Stop one process so many seconds after its first line, and see how the other one ends.

    The stage where it was stopped; None where it had ended before.
    """
    started = workers.start_together(*command, processes=2)
    stopped, number = rng.randrange(2), rng.choice(_SIGNALS)
    _wait_for_start(started[stopped])
    time.sleep(seconds)
    was_running = started[stopped].is_running()
    started[stopped].send_signal(number)
    began = time.perf_counter()
    other = started[1 - stopped].wait(timeout=_MOST_SECONDS)
    waited = time.perf_counter() - began
    output = started[stopped].wait(timeout=_MOST_SECONDS).output
    if not was_running:
        return None

    lines = [START, *output.splitlines()]
    place = next(line for line in reversed(lines) if line.startswith("stage "))
    outcome.tries += 1
    outcome.seconds = max(outcome.seconds, waited)
    outcome.places[place.removeprefix("stage ")] += 1
    outcome.endings[f"{number.name} of process {stopped}"] += 1
    if not _ended_as_documented(other):
        said = f"{number.name} of process {stopped} at {place}: the other ended with {other.code}"
        outcome.problems.append(f"{said} after {waited:.1f} s: {other.errors[-1500:]}")
    return place


def _wait_for_start(process: Process) -> None:
    for line in process.output:
        if line.startswith(START):
            return


def _ended_as_documented(other: Ended) -> bool:
    # JAX says what it knows before the last line.
    last_line = (other.errors.splitlines() or [""])[-1]
    return other.code in _CODES and last_line.startswith(_LINES)


def _go_on(
    command: list[object], run: Path, expected: str, place: str | None, outcome: Outcome
) -> None:
    """Start both processes again, and compare what they end with."""
    workers.launch(*command, processes=2)
    outcome.compared += 1
    if digest(run) != expected:
        outcome.problems.append(f"other bytes after a death at {place}")
    if left := leftovers(run):
        outcome.problems.append(f"left over: {left[:3]}")
