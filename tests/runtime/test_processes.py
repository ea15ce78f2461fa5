"""A process connects with those that the environment names, and reports what is missing there."""

from __future__ import annotations

import signal

import pytest

from socialrec_jax.errors import TERMINATED, PeerStopped, UsageError
from socialrec_jax.runtime import processes
from tests import workers

# Both agree on a signal that process 1 alone has received. Then process 1 waits for process 0.
WAITING = """
import signal, time
from socialrec_jax.runtime import cli, peers, processes

peers._GRACE_SECONDS = 0.1

def program(_):
    processes.initialize()
    received = 0 if processes.is_main() else int(signal.SIGTERM)
    while not (agreed := processes.signal_of_any(received)):
        time.sleep(0.05)
    print(agreed, flush=True)
    processes.broadcast_from_main(lambda: time.sleep(100))

cli.main(program, [])
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in (*processes._LAUNCH, "SLURM_STEP_NODELIST", "SLURM_NTASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def initialised(monkeypatch):
    """The arguments of each call of JAX's initialize."""
    calls = []
    monkeypatch.setattr(
        processes.jax.distributed, "initialize", lambda *arguments, **_: calls.append(arguments)
    )
    return calls


def test_a_plain_launch_is_one_process_and_prints_nothing(initialised, capfd):
    processes.initialize()
    assert initialised == []
    assert processes.is_main()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"},
            [("a:1", 2, 1)],
        ),
        ({"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, []),
        ({"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2"}, [()]),
        ({"SLURM_STEP_NODELIST": "n1", "SLURM_NTASKS": "1"}, []),
        ({"SLURM_NTASKS": "2"}, []),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, [()]),
        ({"TPU_WORKER_HOSTNAMES": "a"}, []),
    ],
)
def test_launchers_are_detected(initialised, monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    processes.initialize()
    assert initialised == expected


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "JAX_NUM_PROCESSES and JAX_PROCESS_ID is not"),
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
            "count from 0",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"},
            "count from 0",
        ),
    ],
)
def test_incomplete_variables_are_a_mistake(initialised, monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        processes.initialize()
    assert initialised == []


def test_a_single_process_gets_its_own_result():
    result = object()
    assert processes.broadcast_from_main(lambda: result) is result


def test_a_signal_of_one_process_ends_both():
    started = workers.start_together("-c", WAITING, processes=2)
    agreed = [int(process.output.readline()) for process in started]
    assert agreed == [signal.SIGTERM] * 2

    started[1].send_signal(signal.SIGTERM)
    waiting, working = (process.wait(timeout=60) for process in reversed(started))
    assert waiting.code == TERMINATED
    assert waiting.errors.startswith("terminated")
    assert working.code == PeerStopped.code
    assert working.errors.startswith("error: process 1 of this job has ended: terminated")
    assert [ended.errors.count("\n") for ended in (waiting, working)] == [1, 1]
