"""Several processes: how they find each other, and how process 0 decides and writes for all.

All processes run the same program on a shared file system. They train together. Process 0 alone
does what is not training (preparing data, evaluation, writing), and the others wait for its result.

They wait on JAX's coordination service, which has a timeout of our choice. A collective would not
do: on CPUs it gives up after half a minute.

In JAX's own code Python handles no signals. So another thread waits there, and the main thread
waits for that thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import jax
from jax._src import (
    distributed,  # the coordination service has no public name; Orbax takes it from here, too
)

from socialrec_jax.errors import PeerStopped, Unavailable, UsageError
from socialrec_jax.runtime.peers import Peers, handle_abort

Result = TypeVar("Result")

_LAUNCH = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_SHUTDOWN_SECONDS = 10
_LONGEST = 300  # characters of a message of JAX

# Preparing and evaluating may take days. A dead process is noticed by its missing heartbeat.
_TIMEOUT_MS = 7 * 24 * 3600 * 1000

_broadcast_numbers = itertools.count()


@dataclasses.dataclass
class _Job:
    """The job of this process; alone it joins none."""

    is_joined: bool = False
    peers: Peers | None = None


_job = _Job()


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
    handle_abort()
    _job.is_joined = True
    try:
        _interruptibly(_initialize, *arguments)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:_LONGEST]
        raise Unavailable(
            f"the processes of this job did not find each other: {problem}"
        ) from error
    if distributed.global_state.client is not None:
        _job.peers = Peers(distributed.global_state.client, *number_and_count())
        _job.peers.start()


def _initialize(*arguments: Any) -> None:
    jax.distributed.initialize(*arguments, shutdown_timeout_seconds=_SHUTDOWN_SECONDS)
    # The first call waits until all processes have made it. Made here, it cannot wait for a
    # process that waits elsewhere.
    jax.devices()


def _interruptibly(function: Callable[..., Result], *arguments: Any) -> Result:
    """function(*arguments), by another thread, so that this one can handle signals."""
    result: Future[Result] = Future()

    def call() -> None:
        try:
            result.set_result(function(*arguments))
        except BaseException as error:
            result.set_exception(error)

    # Python does not wait for it where a signal ends the process.
    threading.Thread(target=call, daemon=True).start()
    return result.result()


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
    _interruptibly(client.wait_at_barrier, f"{key}/barrier", _TIMEOUT_MS)
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
    answer = json.loads(_interruptibly(client.blocking_key_value_get, key, _TIMEOUT_MS))
    if "error" in answer:
        raise PeerStopped(f"process 0 stopped: {answer['error']}")
    return answer["result"]


def signal_of_any(received: int) -> int:
    """On all processes the same: a signal that one of them has received, or 0.

    received: that of this process. Process 0 hears of the others within a second or two.
    """
    if _job.peers and received and not is_main():
        _job.peers.send_signal(received)
    return broadcast_from_main(lambda: received or (_job.peers.signal if _job.peers else 0))


def leave(reason: str, code: int) -> None:
    """End this process of a job after an error, and say why to the others, which then end, too.

    Returns where this process is alone. Python's own end would have to wait for the others.
    """
    if not _job.is_joined:
        return
    if _job.peers:
        _job.peers.leave(reason)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
