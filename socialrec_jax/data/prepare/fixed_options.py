"""Tables that are read with the options of a run: new ones, and histories.

Messages of preparation advise options, which nobody can give here.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from socialrec_jax.data.prepare.problems import PREPARATION
from socialrec_jax.errors import BadData

_ADVICE = "--data."
_HINT = (
    "these tables are read with the --data options of the run: where another one is advised, "
    "change the file (a column can be called user_id, item_id or timestamp)"
)
log = logging.getLogger(__name__)


@contextlib.contextmanager
def fixed_options() -> Iterator[None]:
    """Within it, a message that advises an option is followed by a hint to change the file."""
    logger, listener = logging.getLogger(PREPARATION), _Listener()
    logger.addHandler(listener)
    try:
        yield
    except BadData as error:
        if _ADVICE in str(error):
            raise BadData(f"{error}; {_HINT}") from error
        raise
    finally:
        logger.removeHandler(listener)
    if listener.has_advised:
        log.warning(_HINT)


class _Listener(logging.Handler):
    """Notes whether a message advised an option."""

    has_advised = False

    def emit(self, record: logging.LogRecord) -> None:
        self.has_advised |= _ADVICE in record.getMessage()
