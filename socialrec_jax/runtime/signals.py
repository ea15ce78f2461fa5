"""SIGTERM and Ctrl-C, remembered until the program reaches a place where it can stop."""

from __future__ import annotations

import signal
import threading


class SignalWatch:
    """While entered, the first SIGTERM or SIGINT is remembered; a second one ends the process at
    once.
    """

    def __init__(self) -> None:
        self.received = 0
        self._previous_handlers = {}

    def __enter__(self) -> SignalWatch:
        # Python allows handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous_handlers[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_) -> None:
        self._restore_handlers()

    def _remember(self, number: int, _frame) -> None:
        self.received = number
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
