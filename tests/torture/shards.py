"""Serving processes that are killed together write, after a rerun, the rows of one process."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from tests import workers
from tests.torture.outcomes import Outcome

JOBS = "serve.py, 2 and 4 processes"
PROCESSES = (2, 4)
SHARDS = 8
KILLS_A_FOLDER = 2  # then the job is let to its end


def kill_serving(trained: Path, folder: Path, kills: int, seed: int, until: float) -> Outcome:
    """Kill jobs of 2 and of 4 processes at random moments; compare what reruns leave.

    trained: a run. folder: for what is written. until: no new job starts after this time.
    """
    outcome, rng = Outcome(JOBS), random.Random(seed)
    workers.launch(*_command(trained, folder / "one.parquet"))
    expected = _sorted(pq.read_table(folder / "one.parquet"))
    seconds = {number: _whole(trained, folder, number, expected, outcome) for number in PROCESSES}
    while outcome.tries < kills and time.time() < until:
        number = rng.choice(PROCESSES)
        out = folder / f"killed-{outcome.compared}"
        for _ in range(min(KILLS_A_FOLDER, kills - outcome.tries)):
            _kill_job(_command(trained, out), number, rng.uniform(0, seconds[number]), outcome)
        workers.launch(*_command(trained, out), processes=number)
        outcome.compared += 1
        _compare(out, expected, outcome)
    return outcome


def _command(trained: Path, out: Path) -> list[object]:
    shards = () if out.suffix else ("--shards", SHARDS)
    return ["serve.py", "recommend", "--run", trained, "--out", out, *shards]


def _whole(trained: Path, folder: Path, number: int, expected: pa.Table, outcome: Outcome) -> float:
    """The seconds of a job of so many processes that is left alone."""
    out = folder / f"of-{number}"
    began = time.perf_counter()
    workers.launch(*_command(trained, out), processes=number)
    seconds = time.perf_counter() - began
    _compare(out, expected, outcome)
    return seconds


def _kill_job(command: list[object], number: int, seconds: float, outcome: Outcome) -> None:
    """Start a job, and kill all of its processes at once after so many seconds."""
    started = workers.start_together(*command, processes=number)
    time.sleep(seconds)
    was_running = any(process.is_running() for process in started)
    for process in started:
        process.send_signal(signal.SIGKILL)
    for process in started:
        process.wait()
    outcome.tries += was_running
    outcome.endings["SIGKILL of all"] += was_running


def _compare(out: Path, expected: pa.Table, outcome: Outcome) -> None:
    rows = _sorted(pyarrow.dataset.dataset(out, format="parquet").to_table())
    if not rows.equals(expected):
        outcome.problems.append(f"{out}: {rows.num_rows} rows, other than the {expected.num_rows}")
    if left := [file.name for file in out.glob(".*")]:
        outcome.problems.append(f"{out}: left over: {left[:3]}")


def _sorted(rows: pa.Table) -> pa.Table:
    keys = [(name, "ascending") for name in rows.column_names[:2]]
    return rows.sort_by(keys).combine_chunks()
