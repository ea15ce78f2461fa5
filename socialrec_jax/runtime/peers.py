"""The processes of a job: what each says to the others when it ends early or gets a signal.

A process that ends before the others leaves a line in the key-value store of JAX's coordination
service. A thread of each process reads the store once a second. It ends its process when another
one has left: without it, JAX would notice a missing heartbeat after 100 seconds, and abort.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import os
import signal
import sys
import threading
import time
from typing import Any

from socialrec_jax.errors import PEER_GONE, PeerStopped
from socialrec_jax.runtime import signals

_LEFT = "socialrec_jax/left/"
_SIGNALS = "socialrec_jax/signals/"
_EVERY_SECONDS = 1.0
# Often all processes end for the same reason, each with a line of its own.
_GRACE_SECONDS = 5.0


class _Peers:
    """This process among those of its job; client: of JAX's coordination service."""

    def __init__(self, client: Any, number: int, count: int):
        self._client, self._number, self._count = client, number, count
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)

    def start(self) -> None:
        """Watch the others, until this process ends."""
        self._thread.start()
        # Called before JAX's own, after which there is no store.
        atexit.register(self._stop)

    def leave(self, reason: str) -> None:
        """Say why this process ends, and wait on process 0 until the others have read it."""
        self._is_ending.set()
        # Without its store, a process can say nothing.
        with contextlib.suppress(RuntimeError):
            self._say(_LEFT, reason)
            if self._number == 0:
                self._wait_for_others()

    def _say(self, prefix: str, text: str) -> None:
        """Put a text under the number of this process."""
        self._client.key_value_set(f"{prefix}{self._number}", text, allow_overwrite=True)

    def _stop(self) -> None:
        self._is_ending.set()
        self._thread.join()

    def _wait_for_others(self) -> None:
        """Process 0 has the store: others cannot read it when it has ended."""
        end = time.monotonic() + _GRACE_SECONDS + 2 * _EVERY_SECONDS
        while time.monotonic() < end and len(self._left()) < self._count:
            time.sleep(0.05)

    def _left(self) -> dict[int, str]:
        """Why processes have left, by their numbers."""
        entries = self._client.key_value_dir_get(_LEFT)
        return {int(key.removeprefix(_LEFT)): reason for key, reason in entries}

    def _watch(self) -> None:
        # An error of the store: process 0 is gone, and JAX aborts this process.
        with contextlib.suppress(RuntimeError):
            while not self._is_ending.wait(_EVERY_SECONDS):
                self._share_signals()
                if left := self._left():
                    self._end_after(left)

    def _share_signals(self) -> None:
        """Send to process 0 what a training of another process has received: it stops all."""
        received = signals.received()
        if self._number and received:
            self._say(_SIGNALS, str(received))
        elif not self._number and not received:
            for _, number in self._client.key_value_dir_get(_SIGNALS):
                os.kill(os.getpid(), int(number))

    def _end_after(self, left: dict[int, str]) -> None:
        """End this process, unless it ends by itself in a moment."""
        if self._is_ending.wait(_GRACE_SECONDS):
            return
        number, reason = min(left.items())
        line = f"process {number} of this job has ended: {reason}"
        os.write(2, f"error: {line}\n".encode())
        leave(line, PeerStopped.code)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _end_aborted(_number: int) -> None:
    """End this process, whose main thread may wait in a collective for ever."""
    os.write(2, f"error: aborted by JAX, most likely because {PEER_GONE}\n".encode())
    os._exit(PeerStopped.code)


@dataclasses.dataclass
class _Job:
    is_joined: bool = False
    peers: _Peers | None = None  # none before all have come


_job = _Job()


def expect() -> None:
    """This process joins a job of several."""
    _job.is_joined = True
    # JAX aborts where another process is gone, and has no working option for anything else.
    ctypes.CDLL(None).signal(signal.SIGABRT, _end_aborted)


def watch(client: Any, number: int, count: int) -> None:
    """All processes have come: watch them until this one ends.

    client: of JAX's coordination service. number: of this process, of count.
    """
    _job.peers = _Peers(client, number, count)
    _job.peers.start()


def leave(reason: str, code: int) -> None:
    """End this process after an error, and say why to the others of its job, which then end, too.

    Returns where it is alone. Python's own end would wait for the others.
    """
    if not _job.is_joined:
        return
    if _job.peers:
        _job.peers.leave(reason)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
