"""Two processes with two devices each train as one device does, and share its checkpoints."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import STEPS
from tests.workers import ROOT


def launch(command: list, processes: int) -> list[str]:
    """What each process says, when all end well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = [environment(port, processes, number) for number in range(processes)]
    started = [subprocess.Popen(command, cwd=ROOT, env=place, **PIPES) for place in places]
    said = [process.communicate(timeout=600) for process in started]
    assert not any(process.returncode for process in started), "\n".join(errors[-3000:] for _, errors in said)
    return [out for out, _ in said]


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def environment(port: int, processes: int, number: int) -> dict[str, str]:
    if processes == 1:
        return dict(os.environ)
    cluster = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": str(processes)}
    return os.environ | cluster | {"JAX_PROCESS_ID": str(number)}


def train(run: Path, processes: int, devices: int) -> list[str]:
    """The digests of the parameters that each process ends with."""
    worker = [sys.executable, "-m", "tests.training.worker", run, "--steps", STEPS, "--devices", devices]
    return [out.splitlines()[-1] for out in launch([str(word) for word in worker], processes)]


def result(run: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return np.load(run / "losses.npy"), dict(np.load(run / "params.npz"))


@pytest.fixture(scope="module")
def alone(run_on):
    return run_on(1)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    run = tmp_path_factory.mktemp("processes") / "together"
    digests = train(run, 2, 2)
    assert digests[0] == digests[1], "replicas of both processes are equal"
    return run


def same(one: Path, other: Path) -> None:
    (losses, params), (other_losses, other_params) = result(one), result(other)
    np.testing.assert_allclose(losses, other_losses, rtol=1e-5)
    for name, values in params.items():
        np.testing.assert_allclose(values, other_params[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_two_processes_train_as_one_device(alone, together):
    same(alone, together)
    lines = (together / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len((alone / "metrics.jsonl").read_text().splitlines()), "process 0 alone writes"


@pytest.mark.parametrize(("processes", "devices"), [(1, 1), (1, 2), (1, 4), (2, 2)])
def test_a_checkpoint_of_eight_devices_goes_on_elsewhere(alone, halfway, processes, devices, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(halfway, run)
    train(run, processes, devices)
    same(alone, run)


@pytest.fixture(scope="module")
def halfway(run_on, tmp_path_factory):
    """A run on eight devices that lost what came after its middle."""
    run = tmp_path_factory.mktemp("processes") / "eight"
    shutil.copytree(run_on(8), run)
    steps = sorted(run.glob("checkpoints/retriever/*"), key=lambda step: int(step.name))
    assert len(steps) > 1
    shutil.rmtree(steps[-1])
    return run
