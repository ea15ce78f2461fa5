"""SIGTERM and Ctrl-C: what they do while Python imports, while a program works, and in a training.

| when | first signal | second signal |
|---|---|---|
| imports: `exit_at_once` | ends the process with one line | |
| a program: `SignalExit` | raises, so that temporary files are deleted | ends the process |
| an import of a program | the same after that import | ends the process |
| a training loop: `SignalWatch` | is remembered: all processes save and stop | ends the process |
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from socialrec_jax.errors import INTERRUPTED, TERMINATED

EXIT_CODES = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED}
LINES = {
    signal.SIGTERM: "terminated: nothing half-written is left",
    signal.SIGINT: "interrupted",
}
_AGAIN_SECONDS = 0.05

_entered: list[SignalWatch] = []  # the innermost one last


def exit_at_once() -> None:
    """From now on a signal ends the process with one line.

    For programs, before they import: an exception there would be a traceback, or an ImportError of
    the library that is being imported. Nothing is written yet.
    """
    for number in EXIT_CODES:
        # A shell starts jobs in the background with Ctrl-C ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit_at_once)


def _exit_at_once(number: int, _frame: FrameType | None) -> None:
    os.write(2, f"{LINES[signal.Signals(number)]}\n".encode())
    os._exit(EXIT_CODES[signal.Signals(number)])


class SignalWatch:
    """While entered, the first SIGTERM or SIGINT is remembered; a second one ends the process at
    once.

    Within another watch it begins with what that one has received: a library may have swallowed the
    exception. At a peaceful end it sends what it has received to the other one.
    """

    def __init__(self) -> None:
        self.received = 0
        self._previous_handlers = {}

    def __enter__(self) -> SignalWatch:
        if _entered:
            self.received = _entered[-1].received
        _entered.append(self)
        # Python allows handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            for number in EXIT_CODES:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous_handlers[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        _entered.remove(self)
        if error_type is None and self.received and _entered and not _entered[-1].received:
            signal.raise_signal(self.received)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        # The system's own handlers: Python's wait until a compiled program returns.
        for other in self._previous_handlers:
            signal.signal(other, signal.SIG_DFL)


def received() -> int:
    """The signal that the innermost watch has received, or 0."""
    return _entered[-1].received if _entered else 0


class SignalReceived(KeyboardInterrupt):
    """A signal ended what the main thread did."""


class SignalExit(SignalWatch):
    """While entered, the first signal raises SignalReceived in the main thread, after the import
    that it comes in.

    A library may turn it into an exception of its own: `received` says that it came.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_sent_again = False

    def __enter__(self) -> SignalExit:
        self._previous_hook = sys.unraisablehook
        sys.unraisablehook = self._raise_again
        super().__enter__()
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_) -> None:
        super().__exit__(error_type)
        sys.unraisablehook = self._previous_hook

    def _remember(self, number: int, frame: FrameType | None) -> None:
        is_second = self.received and not self._is_sent_again
        self._is_sent_again = False
        super()._remember(number, frame)
        if is_second:
            signal.raise_signal(number)  # for the system's handler
        # A library prints what ends its imports, or goes on without what it imports.
        if _is_importing(frame):
            self._send_again()
        else:
            raise SignalReceived(LINES[signal.Signals(number)])

    def _raise_again(self, ignored: sys.UnraisableHookArgs) -> None:
        """Python ignores what is raised while it collects garbage: raise it once more."""
        if issubclass(ignored.exc_type, SignalReceived):
            self._send_again()
        else:
            self._previous_hook(ignored)

    def _send_again(self) -> None:
        """In a moment, send the signal once more to this thread, which must be the main one."""
        main_thread = threading.get_ident()

        def send() -> None:
            self._is_sent_again = True
            signal.pthread_kill(main_thread, self.received)

        signal.signal(self.received, self._remember)
        threading.Timer(_AGAIN_SECONDS, send).start()


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a frame, or one that called it, is Python's import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
