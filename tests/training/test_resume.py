"""A run that is killed, interrupted or terminated ends with the same bits as one that was left
alone.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workers import PATIENCE, ROOT


def start(run: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.training.worker", str(run)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(worker: subprocess.Popen) -> str:
    out, errors = worker.communicate(timeout=PATIENCE)
    assert worker.returncode == 0, errors[-2000:]
    return out.splitlines()[-1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The last line of a run that was not interrupted."""
    return finish(start(tmp_path_factory.mktemp("resume") / "run"))


def test_ten_kills_change_no_bit(uninterrupted, tmp_path):
    delays = random.Random(0)
    kills = 0
    for _ in range(14):
        worker = start(tmp_path)
        assert worker.stdout is not None
        if worker.stdout.readline().startswith("parameters"):
            break
        time.sleep(delays.uniform(0.0, 0.25))
        if worker.poll() is not None:
            break
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        kills += 1
    assert kills >= 10, f"the run ended after {kills} kills: give it more steps"
    assert finish(start(tmp_path)) == uninterrupted


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_leaves_and_goes_on(uninterrupted, tmp_path, signum):
    worker = start(tmp_path)
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.send_signal(signum)
    _, errors = worker.communicate(timeout=60)  # it leaves soon: this is no guard against hanging
    assert worker.returncode == 1
    assert "Stopped" in errors
    assert "after saving" in errors
    assert finish(start(tmp_path)) == uninterrupted
