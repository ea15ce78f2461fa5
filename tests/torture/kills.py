"""Runs that are killed again and again end with the bytes of one that was left alone."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from jax.tree import leaves as tree_leaves

from socialrec_jax.data.synthetic import write_tables
from socialrec_jax.runtime.checkpoint import Checkpoints
from tests.workers import Ended, Process

TINY = (
    *("--preset", "tiny", "--model.width", "16", "--model.num-layers", "1"),
    *("--model.social-queries", "0", "--text.width", "16", "--text.num-layers", "1"),
    *("--text.vocabulary", "300", "--train.epochs", "2", "--train.evaluations", "2"),
)
# What a command prints when it comes to a place; a place is hit at the next moment.
PLACES = ("texts", "text ", "retriever", "ranker", "test accuracy", "new ", "before", "update")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130, -2}}
KILLS_A_RUN = 5


@dataclasses.dataclass
class Outcome:
    """What was found over all kills of one command."""

    command: str
    kills: int = 0
    runs: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    by_signal: Counter = dataclasses.field(default_factory=Counter)


def digest(folder: Path) -> str:
    """Of all that a run serves from, and of its answers. Reports have times in them."""
    hashed = hashlib.sha256()
    for part in ("world", "text", "features", "generations", "answers.parquet"):
        for file in _files(folder / part):
            hashed.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    for stage in sorted(folder.rglob("checkpoints/*")):
        hashed.update(str(stage.relative_to(folder)).encode() + _parameters(stage))
    return hashed.hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    """The files at or below a path without those of checkpoints, configurations and records."""
    # Records have seconds in them.
    found = [path] if path.is_file() else sorted(path.rglob("*"))
    passed = ("checkpoints", "config.json", "update.json", "lock", "metrics.jsonl", "tensorboard")
    return [file for file in found if file.is_file() and not {*passed} & {*file.parts}]


def _parameters(stage: Path) -> bytes:
    """Of the newest step; Orbax's own files have times in them."""
    checkpoints = Checkpoints(stage)
    step = checkpoints.steps()[-1]
    numbers = checkpoints.restore_parts(step, "params", "average", "opt_state")
    return str(step).encode() + b"".join(
        np.asarray(leaf).tobytes() for leaf in tree_leaves(numbers)
    )


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders."""
    names = [str(file.relative_to(folder)) for file in folder.rglob("*")]
    return [name for name in names if "/." in f"/{name}" or "orbax-checkpoint-tmp" in name]


class Target:
    """A command, what it starts from, and how long it takes."""

    def __init__(self, name: str, start: Path, *command: object):
        self.name, self.start = name, start
        self.command = [str(part) for part in command]

    def process(self, folder: Path) -> Process:
        return Process(*(part.replace("{folder}", str(folder)) for part in self.command))

    def prepared(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.start, folder)
        return folder


def torture(target: Target, folder: Path, kills: int, seed: int, until: float) -> Outcome:
    """Kill a command at random moments and at places, then let it end; compare what is there."""
    outcome, rng = Outcome(target.name), random.Random(seed)
    started_at = time.perf_counter()
    whole = target.prepared(folder / "whole")
    ended = target.process(whole).wait()
    seconds = time.perf_counter() - started_at
    if ended.code:
        outcome.problems.append(f"ended with {ended.code}: {ended.errors[-300:]}")
        return outcome
    expected = digest(whole)
    while outcome.kills < kills and time.time() < until:
        run = target.prepared(folder / "killed")
        for _ in range(min(KILLS_A_RUN, kills - outcome.kills)):
            if not _kill_once(target, run, rng, seconds, outcome):
                break
        ended = target.process(run).wait()
        outcome.runs += 1
        _compare(ended, run, expected, outcome)
    return outcome


def _kill_once(
    target: Target, run: Path, rng: random.Random, seconds: float, outcome: Outcome
) -> bool:
    """One kill; False where the command ended before."""
    number = rng.choice(SIGNALS)
    process = target.process(run)
    drained = None
    if rng.random() < 0.5:
        _wait_for(process, rng.choice(PLACES))
        time.sleep(rng.uniform(0, 0.05))
    else:
        # Read meanwhile, or a full pipe stops the process.
        drained = threading.Timer(rng.uniform(0, seconds), process.send_signal, [number])
        drained.start()
        process.output.read()
        drained.join()
    process.send_signal(number)
    second = number != signal.SIGKILL and rng.random() < 0.3
    if second:
        process.send_signal(number)
    ended = process.wait(timeout=120)
    if ended.code == 0:
        return False
    outcome.kills += 1
    outcome.by_signal[signal.Signals(number).name + (" twice" if second else "")] += 1
    if ended.code not in CODES[number] or "Traceback" in ended.errors:
        outcome.problems.append(f"{number.name} ended with {ended.code}: {ended.errors[-300:]}")
    return True


def _wait_for(process: Process, place: str) -> None:
    """Read the output until a line begins with place, or to its end."""
    for line in process.output:
        if line.startswith(place):
            return


def _compare(ended: Ended, run: Path, expected: str, outcome: Outcome) -> None:
    if ended.code:
        outcome.problems.append(f"the same command ended with {ended.code}: {ended.errors[-300:]}")
    elif digest(run) != expected:
        kept = run.with_name(f"differs-{outcome.runs}")
        shutil.copytree(run, kept, dirs_exist_ok=True)
        outcome.problems.append(f"other bytes in {kept}")
    if left := leftovers(run):
        outcome.problems.append(f"left over: {left[:3]}")


def targets(folder: Path) -> list[Target]:
    """The commands: a training, an append, serving."""
    sizes = {"num_users": 60, "num_items": 40, "events_per_user": 6}
    write_tables(folder / "shop", **sizes, seed=0)
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    run = ("-m", "tests.pipeline.short_run", "--run", "{folder}")
    train = Target("train.py", empty, *run, "--data", folder / "shop", *TINY)
    trained = train.prepared(folder / "trained")
    ended = train.process(trained).wait()
    assert not ended.code, ended.errors
    write_tables(folder / "more", **sizes, seed=1)
    append = Target("train.py --add", trained, *run, "--add", folder / "more", *_LENIENT)
    serve = ("serve.py", "recommend", "--run", "{folder}", "--out", "{folder}/answers.parquet")
    return [train, append, Target("serve.py recommend", trained, *serve)]


_LENIENT = (
    *("--update.least-accuracy", "0", "--update.max-rate", "1000", "--update.max-type-drift", "1"),
    *("--update.max-known-share", "1", "--update.epochs", "2"),
)
