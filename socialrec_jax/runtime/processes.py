"""Several processes of a job: how process 0 decides and writes for all.

All processes run the same program on a shared file system. They train together. Process 0 alone
does what is not training (preparing data, evaluation, writing), and the others wait for its result.

They wait on JAX's coordination service, which has a timeout of our choice. A collective would not
do: on CPUs it gives up after half a minute.

In JAX's own code Python handles no signals. So another thread waits there, and the main thread
waits for that thread.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from jax._src import (
    distributed,  # the coordination service has no public name; Orbax takes it from here, too
)

from socialrec_jax.errors import PeerStopped

Result = TypeVar("Result")

# Preparing and evaluating may take days. A dead process is noticed by its missing heartbeat.
_TIMEOUT_MS = 7 * 24 * 3600 * 1000

_broadcast_numbers = itertools.count()


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
    interruptibly(client.wait_at_barrier, f"{key}/barrier", _TIMEOUT_MS)
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
    answer = json.loads(interruptibly(client.blocking_key_value_get, key, _TIMEOUT_MS))
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


def interruptibly(function: Callable[..., Result], *arguments: Any) -> Result:
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
