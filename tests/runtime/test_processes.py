"""A process finds company when told of one, is silent when alone, and says what is wrong with half
an invitation.
"""

from __future__ import annotations

import pytest

from socialrec_jax.errors import UsageError
from socialrec_jax.runtime import processes


@pytest.fixture(autouse=True)
def nobody_invites(monkeypatch):
    for name in (*processes._LAUNCH, "SLURM_STEP_NODELIST", "SLURM_NTASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def initialised(monkeypatch):
    """What JAX was asked for."""
    asked = []
    monkeypatch.setattr(
        processes.jax.distributed, "initialize", lambda *where, **_: asked.append(where)
    )
    return asked


def test_a_plain_launch_stays_alone_and_silent(initialised, capfd):
    processes.initialize()
    assert initialised == []
    assert processes.is_main()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("places", "expected"),
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
def test_who_is_several(initialised, monkeypatch, places, expected):
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    processes.initialize()
    assert initialised == expected


@pytest.mark.parametrize(
    ("places", "says"),
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
def test_half_an_invitation_is_a_mistake(initialised, monkeypatch, places, says):
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=says):
        processes.initialize()
    assert initialised == []


def test_alone_the_first_says_what_is_found():
    found = object()
    assert processes.broadcast_from_main(lambda: found) is found
