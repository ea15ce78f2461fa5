"""Runs that are killed again and again end with the bytes of one that was left alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jax.tree import leaves as tree_leaves

from socialrec_jax.runtime.checkpoint import Checkpoints
from tests.torture.outcomes import Outcome
from tests.workers import Ended, Process

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
# A second signal ends the process by the system's own handler.
CODES = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130, -2}}
START = "stage start"  # the first line of every command, see staged.py
KILLS_A_RUN = 8
_RANDOM_KILLS = 3  # after each round through the places
_HANGS_SECONDS = 240
# Of metrics.jsonl, these differ between two runs.
_TIMES = {"time", "events_per_second"}
_NOT_COMPARED = {
    *("checkpoints", "config.json", "update.json", "lock", "metrics.jsonl", "tensorboard"),
    *("report.json", "report.html", "timeline.json", "MANIFEST.json"),
}


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a command gets which signal."""

    place: str  # the beginning of the line after which it comes
    seconds: float  # after that line
    number: signal.Signals
    is_doubled: bool


class Target:
    """A command, what it starts from, and the beginnings of lines that say where it is."""

    def __init__(self, name: str, start: Path, places: tuple[str, ...], *command: object):
        self.name, self.start = name, start
        self.places = (START, *places)
        self.command = [str(part) for part in command]

    def process(self, folder: Path) -> Process:
        command = (part.replace("{folder}", str(folder)) for part in self.command)
        return Process("-m", "tests.torture.staged", *command)

    def prepared(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.start, folder, symlinks=True)
        return folder

    def place_of(self, line: str) -> str | None:
        """The place that a line of output names."""
        return next((place for place in self.places if line.startswith(place)), None)


def torture(target: Target, folder: Path, kills: int, seed: int, until: float) -> Outcome:
    """Kill a command at places and at random moments, then let it end; compare what is there.

    until: no new run starts after this time.
    """
    outcome = Outcome(target.name)
    whole = target.prepared(folder / "whole")
    seconds, ended = _seconds_of_places(target, whole)
    if ended.code:
        outcome.problems.append(f"ended with {ended.code}: {ended.errors[-300:]}")
        return outcome
    expected = digest(whole)
    kills_in_order = _kills(target, seconds, random.Random(seed))
    while outcome.tries < kills and time.time() < until:
        run = target.prepared(folder / "killed")
        for _ in range(min(KILLS_A_RUN, kills - outcome.tries)):
            if not _kill_once(target, run, next(kills_in_order), outcome):
                break
        ended = target.process(run).wait()
        outcome.compared += 1
        _compare(ended, run, expected, outcome)
    return outcome


# ---- When


def _seconds_of_places(target: Target, run: Path) -> tuple[dict[str, float], Ended]:
    """How long a command that is left alone is at each place; and how it ended."""
    process = target.process(run)
    place, since = START, time.perf_counter()
    seconds = dict.fromkeys(target.places, 0.0)
    for line in process.output:
        if now_at := target.place_of(line):
            seconds[place] += time.perf_counter() - since
            place, since = now_at, time.perf_counter()
    seconds[place] += time.perf_counter() - since
    return seconds, process.wait()


def _kills(target: Target, seconds: dict[str, float], rng: random.Random) -> Iterator[Kill]:
    """All places in their order, some moments of the whole command, and so on."""
    whole = sum(seconds.values())
    while True:
        anywhere = [(START, whole)] * _RANDOM_KILLS
        for place, most_seconds in [*seconds.items(), *anywhere]:
            number = rng.choice(SIGNALS)
            is_doubled = number != signal.SIGKILL and rng.random() < 0.3
            yield Kill(place, rng.uniform(0, most_seconds), number, is_doubled)


# ---- Kills


def _kill_once(target: Target, run: Path, kill: Kill, outcome: Outcome) -> bool:
    """One kill; False where the command ended before."""
    process = target.process(run)
    read = _read_until(process, kill.place)
    # Nobody reads meanwhile: all that a command prints fits into the pipe.
    time.sleep(kill.seconds)
    process.send_signal(kill.number)
    if kill.is_doubled:
        process.send_signal(kill.number)
    ended = process.wait(timeout=_HANGS_SECONDS)
    if ended.code == 0:
        return False
    outcome.tries += 1
    places = [target.place_of(line) for line in [*read, *ended.output.splitlines()]]
    place = next(place for place in [*reversed(places), START] if place)
    outcome.places[place.removeprefix("stage ").strip()] += 1
    outcome.endings[kill.number.name + (" twice" if kill.is_doubled else "")] += 1
    if ended.code not in CODES[kill.number] or _is_wordy(ended.errors):
        said = f"{kill.number.name} at {place!r} ended with {ended.code}: {ended.errors[-500:]}"
        outcome.problems.append(said)
    return True


def _read_until(process: Process, place: str) -> list[str]:
    """The lines of output until one begins with place, or to its end."""
    lines = []
    for line in process.output:
        lines.append(line)
        if line.startswith(place):
            break
    return lines


def _is_wordy(errors: str) -> bool:
    return "Traceback" in errors or "Exception ignored" in errors


# ---- What is left


def _compare(ended: Ended, run: Path, expected: str, outcome: Outcome) -> None:
    if ended.code:
        outcome.problems.append(f"the same command ended with {ended.code}: {ended.errors[-300:]}")
    elif digest(run) != expected:
        kept = run.with_name(f"differs-{outcome.compared}")
        shutil.copytree(run, kept, dirs_exist_ok=True, symlinks=True)
        outcome.problems.append(f"other bytes in {kept}")
    if left := leftovers(run):
        outcome.problems.append(f"left over: {left[:3]}")


def digest(folder: Path) -> str:
    """Of all that a run serves from, of its answers, and of the steps that its metrics list."""
    hashed = hashlib.sha256()
    for part in ("world", "text", "features", "generations", "answers.parquet"):
        for file in _files(folder / part):
            hashed.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    for stage in sorted(folder.rglob("checkpoints/*")):
        hashed.update(str(stage.relative_to(folder)).encode() + _parameters(stage))
    for file in sorted(folder.rglob("metrics.jsonl")):
        hashed.update(json.dumps(_steps(file)).encode())
    return hashed.hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    """The files at or below a path without those that say when something was done."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [file for file in files if file.is_file() and not _NOT_COMPARED & {*file.parts}]


def _parameters(stage: Path) -> bytes:
    """Of the newest step; Orbax's own files have times in them."""
    checkpoints = Checkpoints(stage)
    step = checkpoints.steps()[-1]
    numbers = checkpoints.restore_parts(step, "params", "average", "opt_state")
    return str(step).encode() + b"".join(
        np.asarray(leaf).tobytes() for leaf in tree_leaves(numbers)
    )


def _steps(metrics: Path) -> list[dict]:
    """Each logged step with its loss or accuracy: none is missing, and none is there twice."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [{name: line[name] for name in line if name not in _TIMES} for line in lines]


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders."""
    names = [str(file.relative_to(folder)) for file in folder.rglob("*")]
    return [name for name in names if "/." in f"/{name}" or "orbax-checkpoint-tmp" in name]
