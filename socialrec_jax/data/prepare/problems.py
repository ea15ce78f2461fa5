"""What is wrong with raw tables: the errors and warnings of preparation, collected."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from socialrec_jax.data.prepare.schema import TABLES
from socialrec_jax.errors import BadData, InputMissing

Level = Literal["error", "warning"]
PREPARATION = "socialrec_jax.data"  # the loggers below this name warn of the tables


@dataclasses.dataclass(frozen=True)
class Problem:
    """An error stops preparation, a warning does not."""

    level: Level
    table: str | None  # None: of the folder as a whole
    message: str


class Problems(logging.Handler):
    """Collects what preparation logs, and the errors that end its steps."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.all: list[Problem] = []
        self.files: Mapping[str, Sequence[Path]] = {}
        """The files of each table, by which a message is known to be of a table."""
        self._table: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._add("warning", record.getMessage())

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Within it, warnings come here instead of the terminal."""
        logger = logging.getLogger(PREPARATION)
        propagated, logger.propagate = logger.propagate, False
        # the terminal would show them a second time
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = propagated

    @contextlib.contextmanager
    def step(self, table: str | None = None) -> Iterator[None]:
        """A step of preparation, of one table or of all; its error is noted, and what follows is
        still done.
        """
        self._table = table
        try:
            yield
        except (BadData, InputMissing) as error:
            self._add("error", str(error))
        finally:
            self._table = None

    def _add(self, level: Level, message: str) -> None:
        problem = Problem(level, self._table_of(message) or self._table, message)
        # a share of bad rows is counted twice
        if problem not in self.all:
            self.all.append(problem)

    def _table_of(self, message: str) -> str | None:
        # messages begin with their table or their file
        first = message.split(":")[0]
        if first in TABLES:
            return first
        for table, files in self.files.items():
            if any(message.startswith(str(file)) for file in files):
                return table
        return None
