"""Several processes: how they find each other, and how process 0 decides and writes for all.

All processes run the same program on a shared file system. They train together. Process 0 alone
does what is not training (preparing data, evaluation, writing), and the others wait for its result.

They wait on JAX's coordination service, which has a timeout of our choice. A collective would not
do: on CPUs it gives up after half a minute.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax._src import (
    distributed,  # the coordination service has no public name; Orbax takes it from here, too
)

from socialrec_jax.errors import PEER_GONE, PeerStopped, UsageError

_LAUNCH = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_SHUTDOWN_SECONDS = 10

# Preparing and evaluating may take days. A dead process is noticed by its missing heartbeat.
_TIMEOUT_MS = 7 * 24 * 3600 * 1000

_broadcast_numbers = itertools.count()


def initialize() -> None:
    """Connect with the other processes of the job, if there are any. Must be called before anything
    asks JAX for devices.

    Address, number of processes and number of this process come from the three variables of
    _LAUNCH, or from the cluster: a Slurm step of several tasks, or a Cloud TPU of several workers.
    Raises UsageError when only some of the variables are set.
    """
    variables = {name: os.environ[name] for name in _LAUNCH if os.environ.get(name)}
    if variables:
        _initialize_from(variables)
    elif _is_slurm_step() or _is_tpu_pod():
        _connect()

    if distributed.global_state.client is not None:
        # JAX aborts where another process is gone, and has no working option for anything else.
        ctypes.CDLL(None).signal(signal.SIGABRT, _leave_job)
        # The first call waits until all processes have made it. Made here, it cannot wait for a
        # process that waits elsewhere.
        jax.devices()


def _initialize_from(variables: dict[str, str]) -> None:
    missing = [name for name in _LAUNCH if name not in variables]
    if missing:
        raise UsageError(
            f"{' and '.join(variables)} is set, {' and '.join(missing)} is not: "
            "set all three or none"
        )
    address, count, number = (variables[name] for name in _LAUNCH)
    if not (count.isdigit() and number.isdigit() and int(number) < int(count)):
        raise UsageError(
            f"JAX_PROCESS_ID is {number} of JAX_NUM_PROCESSES {count}: they count from 0"
        )
    if int(count) > 1:  # a job of one needs no service
        _connect(address, int(count), int(number))


def _connect(*arguments: Any) -> None:
    """jax.distributed.initialize, with the options that hold for every launcher."""
    # JAX's preemption service would take SIGTERM away from this program, which handles it itself.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(*arguments, shutdown_timeout_seconds=_SHUTDOWN_SECONDS)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _leave_job(_number: int) -> None:
    """End this process, whose main thread may wait in a collective for ever."""
    os.write(2, f"error: aborted by JAX, most likely because {PEER_GONE}\n".encode())
    os._exit(PeerStopped.code)


def _is_slurm_step() -> bool:
    """Whether srun started this with several tasks; a batch script itself is no step."""
    return "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1


def _is_tpu_pod() -> bool:
    return "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def is_main() -> bool:
    """Whether this is process 0, which writes files and prints."""
    return distributed.global_state.process_id == 0


def number_and_count() -> tuple[int, int]:
    """The number of this process, and how many there are; (0, 1) where it is alone."""
    return distributed.global_state.process_id, distributed.global_state.num_processes


def broadcast_from_main(function: Callable[[], Any]) -> Any:
    """Call function on process 0, and return its result on all processes.

    The result must be JSON. A process alone just calls function. All processes must make the same
    broadcasts in the same order. They leave together: who left early would wait for the others in
    its next collective, which is not patient.

    Raises PeerStopped on the other processes when function fails on process 0.
    """
    client = distributed.global_state.client
    if client is None:
        return function()

    # All processes count their broadcasts alike, so the number names the same one everywhere.
    key = f"socialrec_jax/{next(_broadcast_numbers)}"
    result = _send(client, key, function) if is_main() else _receive(client, key)
    client.wait_at_barrier(f"{key}/barrier", _TIMEOUT_MS)
    return result


def _send(client, key: str, function: Callable[[], Any]) -> Any:
    try:
        result = function()
    except BaseException as error:
        # The others must not wait for a result that never comes.
        message = " ".join(str(error).split()) or type(error).__name__
        client.key_value_set(key, json.dumps({"error": message}))
        raise
    client.key_value_set(key, json.dumps({"result": result}))
    return result


def _receive(client, key: str) -> Any:
    answer = json.loads(client.blocking_key_value_get(key, _TIMEOUT_MS))
    if "error" in answer:
        raise PeerStopped(f"process 0 stopped: {answer['error']}")
    return answer["result"]


def barrier() -> None:
    """Wait until all processes are here."""
    broadcast_from_main(lambda: None)


@contextlib.contextmanager
def held_by_main(context: contextlib.AbstractContextManager) -> Iterator[None]:
    """Enter a context on process 0, for as long as all processes need it."""
    with contextlib.ExitStack() as stack:
        broadcast_from_main(lambda: stack.enter_context(context))
        yield
        barrier()
