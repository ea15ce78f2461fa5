"""A process connects with those that the environment names, and reports what is missing there."""

from __future__ import annotations

import signal

import jax
import pytest

from socialrec_jax.errors import TERMINATED, PeerStopped, UsageError
from socialrec_jax.runtime import launch, peers, processes
from socialrec_jax.runtime.signals import SignalWatch
from tests import workers

WAITING = """
import time
from socialrec_jax.runtime import cli, launch, peers, processes

peers._GRACE_SECONDS = peers._EVERY_SECONDS = 0.1

def program(_):
    launch.initialize()
    print("joined", flush=True)
    processes.broadcast_from_main(lambda: time.sleep(100))

cli.main(program, [])
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in (*launch._VARIABLES, "SLURM_STEP_NODELIST", "SLURM_NTASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def initialised(monkeypatch):
    """The arguments of each call of JAX's initialize; this process joins no job."""
    calls = []
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *arguments, **_: calls.append(arguments)
    )
    monkeypatch.setattr(peers, "expect", lambda: None)
    monkeypatch.setattr(peers, "watch", lambda *_: None)
    return calls


def test_a_plain_launch_is_one_process_and_prints_nothing(initialised, capfd):
    launch.initialize()
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
    launch.initialize()
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
        launch.initialize()
    assert initialised == []


def test_a_single_process_gets_its_own_result():
    result = object()
    assert processes.broadcast_from_main(lambda: result) is result


def test_a_process_that_ends_while_it_waits_says_why_to_the_other():
    started = workers.start_together("-c", WAITING, processes=2)
    assert [process.output.readline() for process in started] == ["joined\n"] * 2
    started[1].send_signal(signal.SIGTERM)
    waiting, working = (process.wait(timeout=60) for process in reversed(started))
    assert waiting.code == TERMINATED
    assert waiting.errors.startswith("terminated")
    assert working.code == PeerStopped.code
    assert working.errors.startswith("error: process 1 of this job has ended: terminated")
    assert [ended.errors.count("\n") for ended in (waiting, working)] == [1, 1]


class Store:
    """The key-value store that processes share."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value, allow_overwrite):
        assert allow_overwrite
        self.values[key] = value

    def key_value_dir_get(self, prefix):
        return [item for item in self.values.items() if item[0].startswith(prefix)]


def test_a_signal_of_any_process_stops_the_training_of_process_0():
    store = Store()
    with SignalWatch():
        signal.raise_signal(signal.SIGTERM)
        peers._Peers(store, number=1, count=2)._share_signals()
    with SignalWatch() as signals:
        peers._Peers(store, number=0, count=2)._share_signals()
        assert signals.received == signal.SIGTERM
