"""The time that a suite may take."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

# The rest of a budget is for what cannot be interrupted: a program that is being compiled, a call
# on the device, closing.
_WORKING_SHARE = 0.9


class BudgetOver(BaseException):
    """The time of the suite is over.

    It is no Exception, so that it is not taken for the failure of one case.
    """


@contextlib.contextmanager
def time_limit(budget_seconds: float) -> Iterator[None]:
    """Raises BudgetOver inside the block after 90% of the budget.

    JAX compiles and computes without looking at signals, so the exception may come later, when the
    current compilation or call ends. Only the main thread of a Unix system can be interrupted;
    elsewhere there is no limit.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(_signal: int, _frame: object) -> None:
        raise BudgetOver

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, _WORKING_SHARE * budget_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
