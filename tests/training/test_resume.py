"""A run that is killed, interrupted or terminated ends with the same bits as one that was left
alone.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.workers import Process

LENGTH = ("--steps", 56, "--evaluations", 14)  # longer than a kill and two signals take


def start(run: Path) -> Process:
    return Process("-m", "tests.training.worker", run, *LENGTH)


def finish(worker: Process) -> str:
    """The last line that the worker prints."""
    ended = worker.wait()
    assert ended.code == 0, ended.errors[-2000:]
    return ended.output.splitlines()[-1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The last line of a run that was not interrupted."""
    return finish(start(tmp_path_factory.mktemp("resume") / "run"))


def test_kills_and_signals_change_no_bit(uninterrupted, tmp_path):
    """One run is killed, then terminated and interrupted, and goes on each time.

    `tests.torture` kills many more.
    """
    worker = start(tmp_path)
    worker.output.readline()
    time.sleep(0.1)  # somewhere between two checkpoints
    assert worker.is_running(), "the run ended before the kill: give it more steps"
    worker.send_signal(signal.SIGKILL)
    worker.wait()

    for signum in (signal.SIGTERM, signal.SIGINT):
        worker = start(tmp_path)
        worker.output.readline()
        worker.send_signal(signum)
        ended = worker.wait(timeout=60)  # shorter than for a worker that hangs: it must stop soon
        assert ended.code == 1
        assert f"Stopped: stopped by {signum.name} after saving" in ended.errors
    assert finish(start(tmp_path)) == uninterrupted
