"""A step that never ends: the process shows its threads, and leaves with a code of its own.

A device or a network that hangs raises no error, so a job would wait until somebody looks.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

from socialrec_jax.errors import STALLED

# A call of some steps takes seconds; collectives give up after minutes and raise an error.
SECONDS = 1800.0


class StallWatch:
    """While entered, ends the process when `resume` was called and neither `resume` nor `pause`
    followed for so many seconds.
    """

    def __init__(self, stage: str, seconds: float = SECONDS):
        self.stage = stage
        self.seconds = seconds
        self._resumed_at: float | None = None
        self._ended = threading.Event()

    def resume(self) -> None:
        """Work goes on: count from now."""
        self._resumed_at = time.monotonic()

    def pause(self) -> None:
        """What follows may take any time."""
        self._resumed_at = None

    def __enter__(self) -> StallWatch:
        threading.Thread(target=self._watch, name="stall watch", daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(min(5.0, self.seconds / 4)):
            resumed_at = self._resumed_at
            if resumed_at is not None and time.monotonic() - resumed_at > self.seconds:
                self._leave()

    def _leave(self) -> None:
        faulthandler.dump_traceback(all_threads=True)
        line = (
            f"error: {self.stage}: no step ended in {self.seconds:.0f} s, the threads are above; "
            "the same command goes on from the newest checkpoint"
        )
        print(line, file=sys.stderr, flush=True)
        # sys.exit would wait for the main thread, which hangs.
        os._exit(STALLED)
