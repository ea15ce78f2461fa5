"""Several processes: how they find each other, and how process 0 decides and writes for all.

All processes run the same program on a shared file system. They train together; what is not
training (preparing data, judging, writing) process 0 does, and the others wait for what it says.
They wait on JAX's coordination service, which is patient, and not in a collective: those give up
after half a minute on CPUs.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax._src import (
    distributed,  # the coordination service has no public name; Orbax takes it from here, too
)

from socialrec_jax.errors import PeerStopped, UsageError

_LAUNCH = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_PATIENCE_MS = (
    7 * 24 * 3600 * 1000
)  # preparing and judging may take long; a dead peer is noticed by its heartbeat
_SHUTDOWN_SECONDS = 10
_turns = itertools.count()


def initialize() -> None:
    """Find the other processes; must come before anything asks JAX for devices. Does nothing for a
    process alone.

    The three variables of _LAUNCH say who and where, or the cluster does: a Slurm step of several
    tasks, or a Cloud TPU of several workers. Raises UsageError when only some of the variables are
    set.
    """
    given = {name: os.environ[name] for name in _LAUNCH if os.environ.get(name)}
    if given:
        _initialize_as(given)
    elif _is_slurm_step() or "," in os.environ.get("TPU_WORKER_HOSTNAMES", ""):
        jax.distributed.initialize(shutdown_timeout_seconds=_SHUTDOWN_SECONDS)
    if distributed.global_state.client is not None:
        # all must ask once: who asks first waits for the others, who may wait for him elsewhere
        jax.devices()


def _initialize_as(given: dict[str, str]) -> None:
    missing = [name for name in _LAUNCH if name not in given]
    if missing:
        raise UsageError(
            f"{' and '.join(given)} is set, {' and '.join(missing)} is not: set all three or none"
        )
    address, count, number = (given[name] for name in _LAUNCH)
    if not (count.isdigit() and number.isdigit() and int(number) < int(count)):
        raise UsageError(
            f"JAX_PROCESS_ID is {number} of JAX_NUM_PROCESSES {count}: they count from 0"
        )
    if int(count) > 1:
        jax.distributed.initialize(
            address, int(count), int(number), shutdown_timeout_seconds=_SHUTDOWN_SECONDS
        )


def _is_slurm_step() -> bool:
    """Started by srun with several tasks; a batch script itself is no step."""
    return "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return distributed.global_state.process_id == 0


def broadcast_from_main(find: Callable[[], Any]) -> Any:
    """What find returns on process 0, on all processes: JSON, the same to the last bit. Alone, it
    is just find().

    All processes must come here in the same order. They leave together, so that nobody waits in the
    next collective for one who is still on the way. Raises PeerStopped on the others when it fails
    on process 0.
    """
    client = distributed.global_state.client
    if client is None:
        return find()
    turn = f"socialrec_jax/{next(_turns)}"
    if not is_main():
        said = json.loads(client.blocking_key_value_get(turn, _PATIENCE_MS))
        if "failed" in said:
            raise PeerStopped(f"process 0 stopped: {said['failed']}")
        client.wait_at_barrier(f"{turn}/met", _PATIENCE_MS)
        return said["found"]
    try:
        found = find()
    except BaseException as error:
        client.key_value_set(turn, json.dumps({"failed": " ".join(str(error).split())}))
        raise
    client.key_value_set(turn, json.dumps({"found": found}))
    client.wait_at_barrier(f"{turn}/met", _PATIENCE_MS)
    return found


def barrier() -> None:
    """Nobody leaves before all are here."""
    broadcast_from_main(lambda: None)


@contextlib.contextmanager
def held_by_main(hold: contextlib.AbstractContextManager) -> Iterator[None]:
    """Enter a context on process 0 for all of them."""
    with contextlib.ExitStack() as stack:
        broadcast_from_main(lambda: stack.enter_context(hold))
        yield
        barrier()  # process 0 lets go when all are done
