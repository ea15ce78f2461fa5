"""Progress of evaluation and serving: how many users are done."""

from __future__ import annotations

import datetime
import sys
import time

from socialrec_jax.runtime import processes

_SECONDS_ON_TERMINAL, _SECONDS_IN_LOG = 3.0, 20.0  # between lines


class UserProgress:
    """Lines on stderr: users done, users a second, time left; only process 0 prints.

    A terminal gets a line every few seconds, a log fewer of them. What ends sooner prints nothing.
    """

    def __init__(self, num_users: int):
        self.num_users = num_users
        self.done = 0
        self.begin = self.last_line = time.monotonic()
        on_terminal = sys.stderr.isatty()
        self.seconds = _SECONDS_ON_TERMINAL if on_terminal else _SECONDS_IN_LOG

    def advance(self, num_users: int) -> None:
        """So many more users are done."""
        self.done += num_users
        now = time.monotonic()
        if now - self.last_line > self.seconds and processes.is_main():
            self.last_line = now
            print(self._line(now - self.begin), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = self.done / seconds
        left = datetime.timedelta(seconds=round((self.num_users - self.done) / rate))
        return f"{self.done:,}/{self.num_users:,} users  {rate:,.0f} users/s  {left} left"
