"""Messages about tables that are read with the options of a run.

New tables and histories come to a World, whose options hold for them. So no message may advise an
option: it says what to change in the table.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

from socialrec_jax.data.prepare.problems import PREPARATION
from socialrec_jax.errors import BadData

_OPTION = re.compile(r"--data[.]([a-z-]+)((?: ?,?[a-z_.]+=[^ ,;]+)*)")
# what stands before advice
_BEFORE = re.compile(r"; |: |[.] |, or | [(]|(?<=[?]) ")
# names that go before all others of their field
_NAMES = {"user": "user_id", "item": "item_id"}
_INSTEAD = {
    "ignore": "leave that column out of the file",
    "sep": "write commas between its cells",
    "encoding": "write the file in UTF-8",
}


@contextlib.contextmanager
def fixed_options() -> Iterator[None]:
    """Within it, messages of preparation advise changes of the table in place of options."""
    logger, handler = logging.getLogger(PREPARATION), _Rewriting()
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    except BadData as error:
        raise BadData(without_options(str(error))) from error
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


class _Rewriting(logging.Handler):
    """Hands messages on with other advice."""

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = without_options(record.getMessage()), None
        parent = logging.getLogger(PREPARATION).parent
        if parent is not None:
            parent.handle(record)


def without_options(message: str) -> str:
    """A message whose advice is what to change in the table."""
    option = _OPTION.search(message)
    # that share holds in a new run alone, as the message says
    if option is None or option[1] == "max-bad-share":
        return message
    places = [match.start() for match in _BEFORE.finditer(message, 0, option.start())]
    problem = message[: places[-1]] if places else message
    instead = _names(option[2]) if option[1] == "map" else _INSTEAD.get(option[1])
    return f"{problem}; {instead}" if instead else problem


def _names(pairs: str) -> str:
    """pairs: ` user=buyer,timestamp=COLUMN` of an option."""
    names = []
    for pair in pairs.replace(",", " ").split():
        field, column = pair.split("=")
        called = "its column" if column == "COLUMN" else f"column {column}"
        names.append(f"{called} {_NAMES.get(field, field)}")
    return f"in the file, call {' and '.join(names)}"
