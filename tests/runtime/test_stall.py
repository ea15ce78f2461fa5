"""A step that never ends shows its threads and leaves with a code of its own."""

from __future__ import annotations

import time

from socialrec_jax.errors import STALLED
from socialrec_jax.runtime.stall import StallWatch
from tests.workers import Process

HANGS = """
import threading
from socialrec_jax.runtime.stall import StallWatch
with StallWatch("retriever", seconds=0.2) as watch:
    watch.resume()
    threading.Event().wait()
"""


def test_a_hanging_step_shows_its_threads_and_leaves():
    ended = Process("-c", HANGS).wait(timeout=60)
    assert ended.code == STALLED
    assert "retriever: no step ended in 0 s" in ended.errors
    assert "threading.py" in ended.errors


def test_steps_that_end_and_pauses_may_take_long():
    with StallWatch("retriever", seconds=0.4) as watch:
        watch.resume()
        for _ in range(3):
            time.sleep(0.2)
            watch.resume()
        watch.pause()
        time.sleep(0.6)
